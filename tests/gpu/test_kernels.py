# SPDX-License-Identifier: Apache-2.0
"""Every kernel compiles for its targets without a GPU; machine code has the instruction that it is for, and spills nothing."""

import re

import pytest

from bnn_gpu.compiler import KERNELS, compile_kernel
from bnn_gpu.launches import Kernel
from bnn_gpu.products import Output, Product
from bnn_gpu.sass import Figures, figures, sm90_kernel
from bnn_hw.errors import ToolError
from support.gpu_device import disassembled, needs_compiler

pytestmark = needs_compiler
BITS, INT32 = Output.BITS, Output.INT32


def kernel(name: str, **defines: object) -> Kernel:
    values = {key: int(value) if isinstance(value, int) else value for key, value in defines.items()}
    return Kernel(name, tuple((f"BNN_{key}", str(value)) for key, value in values.items()))


def gemm(product: Product, output: Output = BITS, vector: int = 4, stages: int = 3) -> Kernel:
    return kernel("gemm", PRODUCT=product, OUTPUT=output, PAIRS=True, VECTOR=vector, STAGES=stages)


SHARED_BYTES = {"sm_75": 64, "sm_80": 163, "sm_86": 99, "sm_89": 99, "sm_90a": 227, "sm_100": 227, "sm_120": 99}  # KB of a block
CASES = [  # kernel, target, instruction
    (gemm(Product.XOR, stages=2), "sm_75", r"BMMA\.88128\.XOR\.POPC"),
    (gemm(Product.AND), "sm_80", r"BMMA\.168256\.AND\.POPC"),
    (gemm(Product.AND), "sm_86", r"BMMA\.168256\.AND\.POPC"),
    (gemm(Product.AND, vector=2), "sm_89", r"BMMA\.168256\.AND\.POPC"),
    (gemm(Product.AND, vector=1), "sm_90a", r"BMMA\.168256\.AND\.POPC"),
    (gemm(Product.AND, INT32), "sm_90a", r"BMMA\.168256\.AND\.POPC"),
    (gemm(Product.POPC, stages=2), "sm_75", r"POPC"),
    (gemm(Product.POPC), "sm_100", r"POPC"),
    (gemm(Product.POPC, INT32), "sm_120", r"POPC"),
    (gemm(Product.U8, stages=2), "sm_75", r"IMMA\.8816\.U8\.S8"),
    (gemm(Product.U8), "sm_80", r"IMMA\.16832\.U8\.S8"),
    (gemm(Product.S8, vector=1), "sm_90a", r"IMMA\.16832\.S8\.S8"),
    (gemm(Product.U8), "sm_100", r"IMMA\.16832\.U8\.S8"),
    (gemm(Product.S8), "sm_120", r"IMMA\.16832\.S8\.S8"),
    (sm90_kernel(Product.AND, BITS, 1), "sm_90a", r"BGMMA\.64x256x256\.AND\.POPC"),
    (sm90_kernel(Product.AND, BITS, 2), "sm_90a", r"UTMALDG\.2D\.MULTICAST"),
    (sm90_kernel(Product.AND, Output.FLOAT32, 2), "sm_90a", r"BGMMA\.64x256x256\.AND\.POPC"),
    (sm90_kernel(Product.AND, INT32, 2), "sm_90a", r"BGMMA\.64x256x256\.AND\.POPC"),
    (sm90_kernel(Product.U8, BITS, 2), "sm_90a", r"IGMMA\.64x256x32\.U8\.S8"),
    (sm90_kernel(Product.S8, BITS, 1), "sm_90a", r"IGMMA\.64x256x32\.S8\.S8"),
    (sm90_kernel(Product.AND, BITS, 2, columns=64, tail=3), "sm_90a", r"BGMMA\.64x64x256\.AND\.POPC"),
    (sm90_kernel(Product.AND, INT32, 2, columns=16), "sm_90a", r"BGMMA\.64x16x256\.AND\.POPC"),
    (sm90_kernel(Product.U8, BITS, 2, tail=1), "sm_90a", r"IGMMA\.64x256x32\.U8\.S8"),
    (kernel("issue_rate", PRODUCT=Product.AND), "sm_90a", r"BGMMA\.64x256x256\.AND\.POPC"),
    (kernel("issue_rate", PRODUCT=Product.U8), "sm_90a", r"IGMMA\.64x256x32\.U8\.S8"),
    (kernel("matvec", PRODUCT=Product.POPC, OUTPUT=BITS), "sm_75", r"LDG\.E\.128"),
    (kernel("matvec", PRODUCT=Product.U8, OUTPUT=BITS), "sm_90a", r"IDP\.4A\.U8\.S8"),
    (kernel("matvec", PRODUCT=Product.S8, OUTPUT=INT32), "sm_120", r"IDP\.4A\.S8\.S8"),
    (kernel("pack_rows", TYPE="float"), "sm_75", r"VOTE"),
    (kernel("pack_rows", TYPE="unsigned char"), "sm_90a", r"VOTE"),
    (kernel("pack_rows", TYPE="signed char"), "sm_120", r"VOTE"),
    (kernel("pack_columns", TYPE="float"), "sm_90a", r"STG\.E\.128"),
    (kernel("pack_columns", TYPE="unsigned char"), "sm_75", r"STG\.E\.128"),
    (kernel("align"), "sm_90a", r"STG\.E"),
    (kernel("pool"), "sm_90a", r"LOP3"),
    (kernel("argmax"), "sm_90a", r"SHFL\.BFLY"),
    (kernel("constants", PRODUCT=Product.AND, OUTPUT=BITS), "sm_90a", r"POPC"),
    (kernel("constants", PRODUCT=Product.POPC, OUTPUT=INT32), "sm_75", r"STG\.E"),
    (kernel("float_gemm"), "sm_90a", r"FFMA"),
    (kernel("xnor_gemm_u32"), "sm_90a", r"POPC"),
]


def test_every_kernel_has_a_case() -> None:
    assert {case[0].name for case in CASES} == {path.stem for path in KERNELS.glob("*.cu")}


@pytest.mark.parametrize(
    ("compiled", "target", "instruction"), CASES, ids=lambda value: value.name if isinstance(value, Kernel) else None
)
def test_compiles(compiled: Kernel, target: str, instruction: str) -> None:
    code = compile_kernel(compiled, target)
    assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in code.log
    if compiled.name == "gemm":
        static = re.search(r"(\d+) bytes smem", code.log)
        stages = int(dict(compiled.defines)["BNN_STAGES"])
        assert stages * 2 * 128 * 128 + int(static[1] if static else 0) <= SHARED_BYTES[target] * 1024
    assert not re.search(r"serializ|\bC75\d\d\b", code.log)  # what ptxas says of wgmma whose accumulators it has to wait for
    listing = disassembled(code)
    assert re.search(rf"\b{instruction}\b", listing)
    assert not re.search(r"\b(LDL|STL)\b", listing)


def test_what_the_compiler_refuses_is_said() -> None:
    with pytest.raises(ToolError, match=r"^NVRTC does not compile pack_rows for sm_75: NVRTC_ERROR_COMPILATION .*nothing"):
        compile_kernel(kernel("pack_rows", TYPE="nothing"), "sm_75")


MOST = {  # of python -m bnn_gpu.sass: these may only fall
    (Product.AND, BITS, 1): Figures(fences=0, calls=0, stage=107, between=26, epilogue=591, branches=6),
    (Product.AND, BITS, 2): Figures(fences=0, calls=0, stage=108, between=26, epilogue=594, branches=6),
    (Product.U8, BITS, 1): Figures(fences=0, calls=0, stage=139, between=11, epilogue=453, branches=5),
    (Product.U8, BITS, 2): Figures(fences=0, calls=0, stage=141, between=11, epilogue=456, branches=5),
    (Product.AND, INT32, 1): Figures(fences=0, calls=0, stage=107, between=26, epilogue=626, branches=2),
    (Product.AND, INT32, 2): Figures(fences=0, calls=0, stage=108, between=26, epilogue=628, branches=2),
}


@pytest.mark.parametrize(("product", "output", "cluster"), MOST)
def test_what_hoppers_products_do_beside_multiplying(product: Product, output: Output, cluster: int) -> None:
    found = figures(disassembled(compile_kernel(sm90_kernel(product, output, cluster), "sm_90a")))
    most = vars(MOST[product, output, cluster])
    over = {name: f"{value}, of {most[name]} at the most" for name, value in vars(found).items() if value > most[name]}
    assert not over
    assert found.stage > 4  # the loop with the products was found
