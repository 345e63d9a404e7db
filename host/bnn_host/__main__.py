# SPDX-License-Identifier: Apache-2.0
"""`python -m bnn_host`: a board from the shell, using only the packages of a PYNQ image."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, NoReturn

from bnn_host.accelerator import Accelerator, build_input
from bnn_host.benchmark import packing_images_per_s
from bnn_host.builds import find_build
from bnn_host.classification import classified, find_task, vectors_task
from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.errors import ArtefactError, BnnHwError, UsageError

_INTERRUPTED: Final = 130
_MOST_IMAGES: Final = 1_000_000
_EXAMPLES: Final = """\
examples:
  python -m bnn_host selftest build/mnist-pynq-z2
  python -m bnn_host classify build/mnist-pynq-z2 --images digit.png
  python -m bnn_host classify build/mnist-pynq-z2 --images t10k-images-idx3-ubyte.gz --json
  python -m bnn_host classify build/pictures-pynq-z2 --data pictures
  python -m bnn_host benchmark build/mnist-pynq-z2 --address 192.168.2.99
  python -m bnn_host benchmark build/mnist-pynq-z2 --packing
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are those of bnn_hw."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; {self.prog} --help says what there is")


def run(arguments: Sequence[str]) -> None:
    """Runs a command and prints its result."""
    options = _parser().parse_args(arguments)
    options.build = find_build(options.build)
    if options.packing:
        _show({"packed_images_per_s": packing_images_per_s(build_input(read_manifest(options.build)))}, options.json)
        return
    task = find_task(options)  # before the board is taken
    board = {"address": options.address, "timeout_s": options.timeout, "chunk_images": options.chunk_images}
    with Accelerator(options.build, **board) as accelerator:
        match options.command:
            case "info":
                result = accelerator.info()
            case "selftest":
                result = {"equal_images": accelerator.self_test()}
            case "benchmark":
                result = asdict(accelerator.benchmark(task.images if task else None, singles=options.singles))
            case _:
                result = classified(accelerator, task or vectors_task(options.build), as_json=options.json)
    _show(result, options.json)


def main() -> None:
    """Runs the command line, and exits with the error's exit code if the command fails."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a terminated command releases the board
    try:
        run(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except (BnnHwError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, BnnHwError) else ArtefactError.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m bnn_host", description="Drives the accelerator of a build on a PYNQ board.", epilog=_EXAMPLES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    common = _Parser(add_help=False)
    common.add_argument("build", help="The build's folder, or the name of one that `bnn_hw deploy` brought to this board.")
    common.add_argument("--address", type=_text, help="Of a board with PYNQ.remote; PYNQ_REMOTE_DEVICES without it.")
    common.add_argument("--timeout", type=float, default=10.0, metavar="S", help="Beside computing, for a transfer; 10.")
    common.add_argument("--chunk-images", type=_count(1), metavar="N", help="The most images of a transfer.")
    common.add_argument("--json", action="store_true", help="Print the result as JSON.")
    images = _Parser(add_help=False)
    images.add_argument(
        "--images",
        type=_text,
        action="append",
        metavar="PATH",
        help="A picture, a folder of pictures, or a .npy or IDX file of images; may be given again for more pictures.",
    )
    images.add_argument("--data", type=_text, metavar="PATH", help="A data set as `bnn_hw train` takes it; its test images.")
    images.add_argument("--classes", default="", metavar="NAME,NAME", help="The classes of your own data set, in order.")
    images.add_argument("--own", action="store_true", help="Take --data as your own, though its files have MNIST's names.")
    images.add_argument("--background", default="white", metavar="COLOUR", help="Behind transparent pictures; white.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("info", "What is on the board."), ("selftest", "Replay the build's vectors, every score compared.")):
        commands.add_parser(name, help=what, parents=[common]).set_defaults(images=None, data=None, packing=False)
    classify = commands.add_parser("classify", help="Classify images, or else the build's vectors.", parents=[common, images])
    classify.set_defaults(packing=False)
    benchmark = commands.add_parser("benchmark", help="Measure speed, latency and power.", parents=[common, images])
    benchmark.add_argument(
        "--singles", type=_count(0), default=200, metavar="N", help="Single images to measure latency with; 200."
    )
    benchmark.add_argument("--packing", action="store_true", help="Only how fast this machine packs images, without a board.")
    return parser


def _text(value: str) -> str:
    if not value:
        raise argparse.ArgumentTypeError("must not be empty")
    return value


def _count(least: int) -> Callable[[str], int]:
    def count(value: str) -> int:
        number = int(value)
        if not least <= number <= _MOST_IMAGES:
            raise argparse.ArgumentTypeError(f"must be {least}..{_MOST_IMAGES:,}, not {value}")
        return number

    return count


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, indent=2))
        return
    for name, value in _flat(result):
        print(f"{name:32} {f'{value:,.6g}' if isinstance(value, float) else value}")


def _flat(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Returns names and values, those of objects within with both names."""
    rows: list[tuple[str, Any]] = []
    for name, value in result.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows


if __name__ == "__main__":
    main()
