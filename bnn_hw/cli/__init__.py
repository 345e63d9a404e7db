# SPDX-License-Identifier: Apache-2.0
"""The command line: each command a thin line over a library call."""

import signal
import sys

import click

from bnn_hw import __version__
from bnn_hw.cli.bench import bench
from bnn_hw.cli.bitstream import bitstream
from bnn_hw.cli.board_sim import board_sim
from bnn_hw.cli.build import build, verify
from bnn_hw.cli.catalogue import boards, doctor, models
from bnn_hw.cli.deploy import deploy
from bnn_hw.cli.export import export
from bnn_hw.cli.infer import infer
from bnn_hw.cli.show import console
from bnn_hw.cli.synth import synth
from bnn_hw.cli.train import train
from bnn_hw.errors import ArtefactError, BnnHwError

__all__ = ["app", "main"]

_USAGE = 1
_INTERRUPTED = 130
_HELP: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())  # of click 8.2 and later


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="bnn_hw")
def app() -> None:
    """Binarized neural networks from PyTorch to verified FPGA hardware.

    \b
    bnn_hw build --model mnist          packaged network to verified Verilog
    bnn_hw verify build/mnist-pynq-z2   its Verilog against the golden model again
    bnn_hw synth build/mnist-pynq-z2    what it takes of the FPGA, layer by layer
    bnn_hw bitstream build/mnist-pynq-z2  the bitstream of a board with a processor, by Vivado
    bnn_hw deploy build/mnist-pynq-z2   to a PYNQ board: overlay, host code, notebook
    bnn_hw train --model mnist          the network itself, from the data
    bnn_hw bench gpu                    binary kernels on a GPU, beside cuBLAS
    """


for command in (build, verify, synth, bitstream, deploy, board_sim, train, export, infer, models, boards, doctor, bench):
    app.add_command(command)


def main(command: click.Command = app) -> None:
    """Runs the command line, or one command, and leaves with the exit code of what went wrong, if anything did."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a terminated build cleans up as an interrupted one
    try:
        command(standalone_mode=False)
    except _HELP as error:
        error.show()
        sys.exit(_USAGE)
    except click.ClickException as error:
        _show_error(_usage_message(error))
        sys.exit(_USAGE)
    except (click.Abort, KeyboardInterrupt):
        console.print("[red]interrupted[/red]")
        sys.exit(_INTERRUPTED)
    except (BnnHwError, OSError) as error:  # OSError: no permission, no space, a folder where a file should be
        _show_error(str(error))
        sys.exit(error.exit_code if isinstance(error, BnnHwError) else ArtefactError.exit_code)


def _usage_message(error: click.ClickException) -> str:
    """Returns what is wrong with a command, in a line, and where to read more."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; {context.command_path} --help says what there is" if context else message


def _show_error(message: str) -> None:
    click.echo(f"{click.style('error:', fg='red')} {message}", err=True)
