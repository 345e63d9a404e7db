# SPDX-License-Identifier: Apache-2.0
"""Figures of a kernel's machine code (SASS) that show, without a GPU, what its loops do besides multiplying.

``python -m bnn_gpu.sass`` prints them for the products on Hopper. It needs NVRTC and nvdisasm (``pip install
nvidia-cuda-nvdisasm``).
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnn_gpu.compiler import compile_kernel
from bnn_gpu.launches import Kernel
from bnn_gpu.products import Output, Product
from bnn_hw.errors import BnnHwError, ToolError

__all__ = ["Figures", "Instruction", "disassemble", "figures", "find_disassembler", "main", "sm90_kernel"]

_LABEL: Final = re.compile(r"^([.$][\w.$]+):")
_INSTRUCTION: Final = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:(@!?U?P[T\d]+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
_TARGET: Final = re.compile(r"`\(([.$][\w.$]+)\)")
_FENCE: Final = re.compile(r"MEMBAR|ERRBAR|CGAERRBAR|CCTL")
_PRODUCT: Final = re.compile(r"[BI]GMMA")
_LAST_WAIT: Final = re.compile(r"WARPGROUP\.DEPBAR\.LE gsb0, 0x0")


@dataclass(frozen=True)
class Instruction:
    """An instruction: its predicate or nothing, name with modifiers, operands, and where it branches to or nothing."""

    predicate: str
    name: str
    operands: str
    target: int | None

    def __str__(self) -> str:
        return f"{self.predicate} {self.name} {self.operands}".strip()


@dataclass(frozen=True)
class _Loop:
    head: int
    body: frozenset[int]


@dataclass(frozen=True)
class Figures:
    """The overhead of a kernel of warpgroup products, in instructions of a warp.

    `fences`: memory fences and invalidations of the first-level cache in loops; `calls`: function calls, such as a 64-bit division.
    `stage`: the loop with the products. Where tensor cores idle: `epilogue`, from the wait for a tile's last products on, and
    `between`, from the next tile's start to its loop. What lies between that loop and that wait costs nothing. `branches`: those
    of the epilogue.
    """

    fences: int
    calls: int
    stage: int
    between: int
    epilogue: int
    branches: int


def sm90_kernel(product: Product, output: Output, cluster: int, columns: int = 256, tail: int = 0) -> Kernel:
    """Returns the product on Hopper, with an even number of columns."""
    values = {"PRODUCT": product, "OUTPUT": output, "PAIRS": 1, "CLUSTER": cluster, "COLUMNS": columns, "TAIL": tail}
    return Kernel("gemm_sm90", tuple((f"BNN_{name}", str(int(value))) for name, value in values.items()))


def find_disassembler() -> str:
    """Returns the path of nvdisasm, on the PATH or in its wheel. Raises `ToolError` if it is not installed."""
    found = shutil.which("nvdisasm")
    if found is None:
        spec = importlib.util.find_spec("nvidia")
        folders = list(spec.submodule_search_locations or []) if spec else []
        found = next((str(path) for folder in folders for path in Path(folder).glob("cu*/bin/nvdisasm*")), None)
    if found is None:
        raise ToolError("nvdisasm, which shows kernels' machine code, is not installed: pip install nvidia-cuda-nvdisasm")
    return found


def disassemble(code: bytes) -> str:
    """Returns the listing of a cubin."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.cubin").write_bytes(code)
        command = [find_disassembler(), "-c", "kernel.cubin"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def figures(listing: str) -> Figures:
    """Returns the figures of a listing with warpgroup products, in a loop over tiles."""
    code = _parse(listing)
    loops = sorted(_loops(code), key=lambda loop: len(loop.body))
    products = {index for index, instruction in enumerate(code) if _PRODUCT.match(instruction.name)}
    stage = next(loop for loop in loops if loop.body & products)
    tile = next(loop for loop in loops if loop.body > stage.body)
    before = _before(code, tile, stage.body) - stage.body
    last = next(index for index in tile.body - stage.body if _LAST_WAIT.match(str(code[index])))
    hidden = _before(code, tile, {last}) - before - stage.body
    epilogue = tile.body - stage.body - before - hidden
    inside = set[int]().union(*(loop.body for loop in loops))
    return Figures(
        fences=sum(bool(_FENCE.match(code[index].name)) for index in inside),
        calls=sum(code[index].name.startswith("CALL") for index in inside),
        stage=len(stage.body),
        between=len(before),
        epilogue=len(epilogue),
        branches=sum(code[index].name.startswith("BRA") for index in epilogue),
    )


def _parse(listing: str) -> list[Instruction]:
    labels, lines = dict[str, int](), list[tuple[str, str, str]]()
    for line in listing.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(lines)
        elif found := _INSTRUCTION.match(line):
            lines.append((found[1] or "", found[2], found[3]))
    code = []
    for predicate, name, operands in lines:
        target = _TARGET.search(operands) if name.startswith("BRA") else None
        code.append(Instruction(predicate, name, operands, labels.get(target[1]) if target else None))
    return code


def _next(code: list[Instruction], index: int) -> list[int]:
    """Returns an instruction's possible successors, without the branch of diverged warps (BRA.DIV): ours never diverge there."""
    instruction = code[index]
    following = [index + 1] if index + 1 < len(code) else []
    if instruction.target is not None and not instruction.name.startswith("BRA.DIV"):
        always = not instruction.predicate and not re.match(r"!?U?P\d", instruction.operands)
        return [instruction.target] if always else [instruction.target, *following]
    ends = instruction.name.startswith(("EXIT", "RET")) and not instruction.predicate
    return [] if ends else following


def _loops(code: list[Instruction]) -> Iterator[_Loop]:
    """Yields the natural loops: for each branch back to an instruction that dominates it, the instructions between."""
    before: list[list[int]] = [[] for _ in code]
    for index in range(len(code)):
        for following in _next(code, index):
            before[following].append(index)
    for end, instruction in enumerate(code):
        head = instruction.target
        if head is None or instruction.name.startswith("BRA.DIV") or end in _reachable(code, head):
            continue
        body, waiting = {head, end}, [end]
        while waiting:
            for index in before[waiting.pop()]:
                if index not in body:
                    body.add(index)
                    waiting.append(index)
        yield _Loop(head, frozenset(body))


def _reachable(code: list[Instruction], without: int) -> set[int]:
    """Returns the instructions reachable from the kernel's start without passing the given one: those it does not dominate."""
    seen, waiting = {0}, [0]
    while waiting:
        for index in _next(code, waiting.pop()):
            if index not in seen and index != without:
                seen.add(index)
                waiting.append(index)
    return seen


def _before(code: list[Instruction], tile: _Loop, places: set[int] | frozenset[int]) -> set[int]:
    """Returns the given places and the loop's instructions that lead to them in the same iteration."""
    leading, grown = set(places), True
    while grown:
        added = {i for i in tile.body - leading if any(j in leading and j != tile.head for j in _next(code, i))}
        leading |= added
        grown = bool(added)
    return leading


def main() -> None:
    """Prints the figures of the products on Hopper as a table."""
    print("| product | output | cluster | fences in loops | calls in loops | stage | between tiles | epilogue | branches in it |")
    print("|---|---|---|---|---|---|---|---|---|")
    for product, output in ((Product.AND, Output.BITS), (Product.U8, Output.BITS), (Product.AND, Output.INT32)):
        for cluster in (1, 2):
            found = figures(disassemble(compile_kernel(sm90_kernel(product, output, cluster), "sm_90a")))
            cells = (product.name, output.name, cluster, *vars(found).values())
            print(f"| {' | '.join(str(cell) for cell in cells)} |")


if __name__ == "__main__":
    try:
        main()
    except BnnHwError as error:
        sys.exit(f"error: {error}")
