# SPDX-License-Identifier: Apache-2.0
"""The SHA-256 of what `bnn_hw build` writes, to show that a change of the code changes nothing that is built.

    python rtl/experiments/build_digests.py > before.txt

Every packaged network on every board that takes it, and run-time weights of each on pynq-z2 and zcu104: Verilog, plan, network
and core. A line has a digest of the file as it is, one of its text without comment lines and with TOP for the name of the top,
which is a digest itself, and the file's path in the build with TOP likewise. `--model` and `--board` choose some of them.
"""

import argparse
import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_FILES: Final = ("rtl/*.v", "rtl/*.core", "plan.json", "network.safetensors")
_RUNTIME_BOARDS: Final = ("pynq-z2", "zcu104")


def main() -> None:
    """Prints the digests of the builds that the options choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="*", default=_names("models"))
    parser.add_argument("--board", nargs="*", default=_names("boards"))
    options = parser.parse_args()
    for model in options.model:
        for board in options.board:
            for runtime in (False, True) if board in _RUNTIME_BOARDS else (False,):
                _print_digests(model, board, ["--runtime-weights"] if runtime else [])


def _names(command: str) -> list[str]:
    printed = subprocess.run([sys.executable, "-m", "bnn_hw", command, "--json"], check=True, capture_output=True, text=True).stdout
    return [entry["name"] for entry in json.loads(printed)]


def _print_digests(model: str, board: str, options: list[str]) -> None:
    title = " ".join([model, board, *options])
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "build"
        command = [sys.executable, "-m", "bnn_hw", "build", "--model", model, "--board", board, "--no-verify", "--out", str(folder)]
        finished = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
        if finished.returncode:
            print(f"{title}: {finished.stderr.strip()}", flush=True)
            return
        top = json.loads((folder / "manifest.json").read_text())["top"]
        for path in sorted(path for pattern in _FILES for path in folder.glob(pattern)):
            content = path.read_bytes()
            plain = re.sub(rb"(?m)^//.*\n", b"", content.replace(top.encode(), b"TOP"))
            name = path.relative_to(folder).as_posix().replace(top, "TOP")
            print(f"{sha256(content).hexdigest()} {sha256(plain).hexdigest()} {title}: {name}", flush=True)


if __name__ == "__main__":
    main()
