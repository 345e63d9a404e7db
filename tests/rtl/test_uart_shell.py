# SPDX-License-Identifier: Apache-2.0
"""The UART shell, bit by bit on its lines: right requests and faults, for each input type."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bnn_hw.contract.frames import Answer, Fault, Identity, Request, frame, silence_bits
from bnn_hw.design.lower import lower
from bnn_hw.design.plan import LayerPlan, Plan
from bnn_hw.errors import ArtefactError, UsageError
from bnn_hw.fpga.serial_clock import baud_divisor, baud_error
from bnn_hw.network import golden
from bnn_hw.network.file import save_network
from bnn_hw.network.network import Input, Network, Scores
from bnn_hw.network.packing import pack_bits, unpack_bits
from bnn_rtl.emit import emit_verilog
from bnn_rtl.uart_shell import UartShell
from support.cocotb_run import fresh_seed, run_bench
from support.stages import stages
from support.strategies import WindowShape, random_conv_network, random_network, random_plan

_BAUD = 10_000
_CLOCK_NS = 10  # of the benches


@dataclass(frozen=True)
class _Case:
    input: Input
    widths: tuple[int, ...]
    divisor: int
    windows: tuple[WindowShape, ...] = ()

    def network(self, seed: int) -> Network:
        if self.windows:
            return random_conv_network(self.input, self.windows, self.widths, seed, "mixed")
        return random_network(self.input, self.widths, seed, "mixed")


_CASES = {
    "bit": _Case(Input((70,), "bit"), (9, 3), 8),  # 2 words with a rest, and the last byte with one too
    "int8": _Case(Input((16,), "int8"), (2,), 13),  # 2 words without one
    "small": _Case(Input((3,), "bit"), (1,), 11),
    "uint8": _Case(  # 3 words, with convolution and pooling
        Input((4, 3, 2), "uint8"), (3,), 10, (WindowShape((2, 2), (1, 1), 5, (0, 1, 1, 0), 1), WindowShape((2, 2), (2, 1)))
    ),
}
_DOCUMENT = Path(__file__).parents[2] / "docs" / "uart.md"


def _run(bench: str, network: Network, plan: Plan, simulator: str, folder: Path, seed: int, divisor: int) -> None:
    shell = UartShell(lower(network, plan), clock_hz=divisor * _BAUD, baud=_BAUD)
    save_network(network, folder / "network.safetensors")
    cycles = sum(stage.cycles for stage in stages(lower(network, plan))) + 200  # of one image through all layers, at the most
    stimulus = {"seed": seed, "bit_ns": divisor * _CLOCK_NS, "silence_bits": silence_bits(_BAUD), "cycles": cycles}
    run_bench(shell, bench, simulator, folder, stimulus, parts=shell.parts)


@pytest.mark.parametrize(("name", "simulator"), [("bit", "verilator"), *((name, "icarus") for name in _CASES)])
def test_frames(name: str, simulator: str, tmp_path: Path) -> None:
    """Every kind of request and fault."""
    seed, case = fresh_seed(), _CASES[name]
    network = case.network(seed)
    _run("uart_frames", network, random_plan(network, seed), simulator, tmp_path, seed, case.divisor)


def test_an_accelerator_that_is_slower_than_the_line(tmp_path: Path) -> None:
    """Bytes that it cannot take are a fault; the same images in their time are right."""
    seed = fresh_seed()
    network = random_conv_network(Input((96, 2, 1), "uint8"), (WindowShape((2, 2), (1, 1), 100),), (2,), seed, "mixed")
    plan = Plan((LayerPlan("conv1", 1, 1), LayerPlan("scores", 1, 100)))
    _run("uart_overrun", network, plan, "icarus", tmp_path, seed, 8)


def test_the_example_of_the_document(tmp_path: Path) -> None:
    """The frames of docs/uart.md, byte by byte: what golden model and hardware give."""
    network = Network(
        "example",
        Input((10,), "bit"),
        (Scores("scores", np.eye(2, 10, dtype=bool), np.array([1, 3], np.int32), np.array([0, -5], np.int32)),),
    )
    lines = re.findall(r"^(host|board): +((?:[0-9a-f]{2} ?)+)$", _DOCUMENT.read_text(), re.MULTILINE)
    frames = [(side, bytes.fromhex(content)) for side, content in lines]
    requests = [frame for side, frame in frames if side == "host"]
    answers = [frame for side, frame in frames if side == "board"]
    assert len(requests) == len(answers) == 3
    image = unpack_bits(np.frombuffer(requests[1][4:6], np.uint8), 10)
    scores = golden.scores(network, image[None])[0]
    assert requests[0] == frame(Request.IDENTIFY)
    assert answers[0] == frame(Answer.IDENTITY, Identity.of(network).payload)
    assert requests[1] == frame(Request.CLASSIFY, pack_bits(image).tobytes())
    assert answers[1] == frame(Answer.RESULT, np.array([*scores, scores.argmax()], "<i4").tobytes())
    assert answers[2] == frame(Answer.FAULT, bytes([Fault.WRONG_CRC]))
    (tmp_path / "frames.json").write_text(
        json.dumps([(request.hex(), answer.hex()) for request, answer in zip(requests, answers, strict=True)])
    )
    _run("uart_replay", network, Plan((LayerPlan("scores", 1, 3),)), "icarus", tmp_path, 0, 8)


@pytest.mark.parametrize(
    ("clock_hz", "baud", "divisor"),
    [(12_000_000, 115_200, 104), (25_000_000, 115_200, 217), (27_000_000, 115_200, 234), (12_000_000, 1_000_000, 12), (80, 10, 8)],
)
def test_divisors(clock_hz: int, baud: int, divisor: int) -> None:
    assert baud_divisor(clock_hz, baud) == divisor
    assert abs(baud_error(clock_hz, baud)) <= 0.02
    assert (1 + baud_error(clock_hz, baud)) * divisor * baud == pytest.approx(clock_hz)


@pytest.mark.parametrize(
    ("clock_hz", "baud", "message"),
    [
        (0, 9600, r"clock_hz must be positive, not 0"),
        (12_000_000, -1, r"baud must be positive, not -1"),
        (12_000_000, 3_000_000, r"baud must be at most clock/8, 1,500,000, not 3,000,000"),
        (
            12_000_000,
            1_290_000,
            r"baud must be within 2% .* but 12,000,000 Hz / 9 is \+3\.4% off 1,290,000; use about 1,200,000 or 1,333,333, .*",
        ),
    ],
)
def test_baud_rates_that_the_clock_does_not_give(clock_hz: int, baud: int, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}$"):
        baud_divisor(clock_hz, baud)


def test_a_network_whose_images_fit_no_frame() -> None:
    network = random_network(Input((65_536,), "uint8"), (2,), 0)
    with pytest.raises(ArtefactError, match=r"^network random: a frame holds 65,535 bytes, but its image has 65,536; use .*$"):
        Identity.of(network)


def test_the_same_shell_gives_the_same_verilog() -> None:
    network = random_network(Input((70,), "bit"), (9, 3), 1)
    first, second = (UartShell(lower(network, random_plan(network, 1)), clock_hz=12_000_000, baud=115_200) for _ in range(2))
    assert emit_verilog(first, "dut", first.parts) == emit_verilog(second, "dut", second.parts)
