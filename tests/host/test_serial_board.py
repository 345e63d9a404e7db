# SPDX-License-Identifier: Apache-2.0
"""The host of the UART shell: against simulated hardware through a terminal, and against a naive board for what goes wrong."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn_host.serial_board import SerialBoard
from bnn_hw.contract.frames import Identity, silence_bits
from bnn_hw.design.lower import lower
from bnn_hw.errors import ArtefactError, MismatchError, ToolError, UsageError
from bnn_hw.network import golden
from bnn_hw.network.file import network_digest, save_network
from bnn_hw.network.network import Input, Network
from bnn_rtl.uart_shell import UartShell
from support.benches.uart_line_bench import CLASSIFY, IDENTIFY, frame, naive_crc
from support.cocotb_run import fresh_seed, run_bench
from support.naive import naive_class, naive_trace
from support.strategies import random_inputs, random_network, random_plan

_BAUD = 115_200
_DIVISOR = 8
_INPUTS = {"bit": Input((7, 10, 1), "bit", 100), "uint8": Input((3, 3, 2), "uint8"), "int8": Input((5,), "int8")}


class NaiveBoard:
    """A board as docs/uart.md has it, with pyserial's interface. Its faults are functions of an answer, each for one request."""

    def __init__(self, network: Network, faults: list[Callable[[bytes], bytes]] | None = None) -> None:
        self.network, self.faults, self.requests, self.closed = network, faults or [], [], False
        self.timeout: float | None = None
        self._waiting = b""

    def write(self, content: bytes) -> int:
        self.requests.append(content)
        answer = self._answer(content)
        self._waiting += self.faults.pop(0)(answer) if self.faults else answer
        return len(content)

    def read(self, size: int = 1) -> bytes:
        content, self._waiting = self._waiting[:size], self._waiting[size:]
        return content

    def close(self) -> None:
        self.closed = True

    def _answer(self, content: bytes) -> bytes:
        assert content[0] == 0xA5
        assert naive_crc(content[1:]) == 0
        assert content[2] + 256 * content[3] == len(content) - 6
        network = self.network
        bits = network.input.dtype == "bit"
        if content[1] == IDENTIFY:
            assert len(content) == 6
            fields = bytes([1, ["bit", "uint8", "int8"].index(network.input.dtype)])
            fields += network.input.signal.size.to_bytes(4, "little") + network.classes.to_bytes(2, "little")
            return frame(0x81, fields + bytes.fromhex(network_digest(network)))
        assert content[1] == CLASSIFY
        elements = []
        for byte in content[4:-2]:
            if bits:
                elements += [byte // 2**place % 2 for place in range(8)]
            else:
                elements.append(byte - 256 if network.input.dtype == "int8" and byte > 127 else byte)
        assert len(elements) == -(-network.input.signal.size // 8) * 8 if bits else network.input.signal.size
        assert sum(elements[network.input.signal.size :]) == 0
        _, scores = naive_trace(network, elements[: network.input.signal.size])
        return frame(0x82, b"".join((word % 2**32).to_bytes(4, "little") for word in [*scores, naive_class(scores)]))


def _network(dtype: str, seed: int = 1) -> Network:
    return random_network(_INPUTS[dtype], (6, 3), seed, "mixed")


def _board(port: NaiveBoard, network: Network | str | None = None, **options: Any) -> SerialBoard:
    return SerialBoard(port, 1_000_000, network, **{"timeout_s": 0.05, **options})


@contextmanager
def _simulated(
    network: Network, folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch, altered: list[Any], lost: list[Any]
) -> Iterator[str]:
    """Simulates a board with the network; gives the name of its terminal."""
    save_network(network, folder / "network.safetensors")
    shell = UartShell(lower(network, random_plan(network, seed)), clock_hz=_DIVISOR * _BAUD, baud=_BAUD)
    stimulus = {"seed": seed, "bit_ns": 10 * _DIVISOR, "silence_bits": silence_bits(_BAUD), "cycles": 0}
    with ThreadPoolExecutor(1) as pool:
        running: Future[Any] = pool.submit(
            run_bench,
            shell,
            "uart_host",
            "icarus",
            folder,
            {**stimulus, "altered": altered, "lost": lost},
            parts=shell.parts,
        )
        try:
            while not (folder / "terminal.txt").exists():
                if running.done():
                    running.result()
                time.sleep(0.05)
            yield (folder / "terminal.txt").read_text()
        finally:
            (folder / "stop.txt").touch()
        running.result()


@pytest.mark.parametrize("dtype", ["bit", "uint8"])
def test_simulated_hardware(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own code, through pyserial and a terminal, with the shell's Verilog: scores and classes are golden."""
    seed = fresh_seed()
    network = _network(dtype, seed)
    images = random_inputs(network, 8, seed)
    expected = golden.scores(network, images)
    with _simulated(network, tmp_path, seed, monkeypatch, [], []) as port:
        with SerialBoard(port, _BAUD, network, timeout_s=60) as board:
            assert board.identify() == Identity.of(network)
            np.testing.assert_array_equal(board.scores(images), expected)
            np.testing.assert_array_equal(board.classify(images[:2]), expected[:2].argmax(axis=1))
        with pytest.raises(ArtefactError, match=r"^the board must carry the network with digest 00.*, not [0-9a-f]{64}; load .*$"):
            SerialBoard(port, _BAUD, "00" * 32, timeout_s=60)
        with SerialBoard(port, _BAUD, timeout_s=60) as board:
            assert board.classify(images[3]) == expected[3].argmax()


def test_simulated_hardware_on_a_bad_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are altered and lost both ways cost time, never a result."""
    seed = fresh_seed()
    network, draw = _network("bit", seed), random.Random(seed)
    images = random_inputs(network, 12, seed)
    places = [("rx", draw.randrange(6, 150)) for _ in range(6)] + [("tx", draw.randrange(200)) for _ in range(4)]
    simulated = _simulated(network, tmp_path, seed, monkeypatch, places[::2], places[1::2])
    with simulated as port, SerialBoard(port, _BAUD, network, timeout_s=4, retries=20) as board:
        np.testing.assert_array_equal(board.scores(images), golden.scores(network, images))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("dtype", _INPUTS)
def test_scores_and_classes(dtype: str, known: bool) -> None:
    network, seed = _network(dtype), fresh_seed()
    images = random_inputs(network, 5, seed)
    expected = golden.scores(network, images)
    with _board(NaiveBoard(network), network if known else None) as board:
        for each in (images, images.reshape(5, *network.input.shape), np.asfortranarray(images)):
            scores, classes = board.scores(each), board.classify(each)
            assert (scores.dtype, classes.dtype) == (np.int32, np.int64)
            np.testing.assert_array_equal(scores, expected)
            np.testing.assert_array_equal(classes, expected.argmax(axis=1))
        one = images[2].reshape(network.input.shape)
        np.testing.assert_array_equal(board.scores(one), expected[2])
        assert board.classify(one) == expected[2].argmax()
        assert board.classify(one).shape == ()
        np.testing.assert_array_equal(board.scores(images[2]), expected[2])
        assert board.scores(images[:0]).shape == (0, network.classes)
        np.testing.assert_array_equal(board.scores(images.astype(np.int64)), expected)
        assert board.identify() == Identity.of(network)


def test_pixels() -> None:
    """uint8 pixels become what the network takes, as in the golden model."""
    pixels = np.random.default_rng(fresh_seed()).integers(0, 256, (4, 70), np.uint8)
    bits, bytes_ = _network("bit"), _network("int8")
    with _board(NaiveBoard(bits), bits) as board:
        np.testing.assert_array_equal(board.scores(pixels), golden.scores(bits, pixels))
    for known in (bytes_, None):
        with _board(NaiveBoard(bytes_), known) as board:
            np.testing.assert_array_equal(board.scores(pixels[:, :5]), golden.scores(bytes_, pixels[:, :5]))


@pytest.mark.parametrize(
    ("dtype", "known", "images", "message"),
    [
        ("bit", False, np.zeros((2, 69), bool), r"images must be \[images, 70\] or one \[70\], not \[2, 69\]"),
        ("bit", True, np.zeros(71, bool), r"images must be \[images, 7, 10, 1\] or one \[7, 10, 1\], not \[71\]"),
        ("bit", True, np.zeros((2, 10, 7), bool), r"images must be \[images, 7, 10, 1\] or one .*, not \[2, 10, 7\]"),
        ("bit", False, np.zeros((2, 70), np.uint8), r"images must be bool, not uint8, .*; give the network"),
        ("bit", False, np.full((1, 70), 2), r"elements of images must be 0\.\.1 for bit inputs, not 2"),
        ("bit", True, np.zeros((2, 70), np.float32), r"images must be bool, or uint8 pixels, not float32; round them first, .*"),
        ("uint8", False, np.zeros((2, 18)), r"images must be uint8, not float64; round them first, .*"),
        ("uint8", False, np.array([[0] * 17 + [256]]), r"elements of images must be 0\.\.255 for uint8 inputs, not 256"),
        ("uint8", True, np.array([[0] * 17 + [-1]], np.int8), r"elements of images must be 0\.\.255 for uint8 inputs, not -1"),
        ("int8", False, np.array([0, 0, -129, 0, 0]), r"elements of images must be -128\.\.127 for int8 inputs, not -129; .*"),
        ("int8", False, np.zeros(5, bool), r"images must be int8, or uint8 pixels, not bool"),
    ],
)
def test_images_that_do_not_fit(dtype: str, known: bool, images: np.ndarray, message: str) -> None:
    network = _network(dtype)
    with _board(NaiveBoard(network), network if known else None) as board, pytest.raises(ArtefactError, match=f"^{message}$"):
        board.scores(images)


def test_any_altered_byte_of_an_answer_is_repeated() -> None:
    network = _network("uint8")
    images = random_inputs(network, 1, 3)
    expected = golden.scores(network, images)
    for place in range(6 + 4 * 4):
        port = NaiveBoard(network)
        with _board(port, network) as board:
            port.faults = [lambda answer, place=place: answer[:place] + bytes([answer[place] ^ 0x04]) + answer[place + 1 :]]
            np.testing.assert_array_equal(board.scores(images), expected)
        assert len(port.requests) == 4  # identify, classify; identify, classify


def test_the_attempts_are_counted() -> None:
    network = _network("uint8")
    for retries in (0, 2):
        port = NaiveBoard(network, [lambda answer: answer[:-1]] * 10)
        with pytest.raises(
            ArtefactError, match=rf"^the serial port: no right answer in {retries + 1} attempts at 1,000,000 baud, .*$"
        ):
            _board(port, network, retries=retries)
        assert len(port.requests) == retries + 1
        assert port.closed


def test_an_answer_of_another_length() -> None:
    network = _network("uint8")
    port = NaiveBoard(network)
    with _board(port, network, retries=0) as board:
        port.faults = [lambda _: frame(0x82, bytes(12))]
        with pytest.raises(ArtefactError, match=r"^.* at last: an answer of type RESULT came with 12 bytes instead of 16; .*$"):
            board.scores(random_inputs(network, 1, 3))


def test_a_result_that_comes_too_late_is_never_the_next_images() -> None:
    """An answer that has not come in time comes in front of later ones."""
    network = _network("uint8")
    images = random_inputs(network, 40, 4)
    expected, order = np.unique(golden.scores(network, images), axis=0, return_index=True)
    assert len(order) > 1
    images = images[order]  # which differ in their scores
    late: list[bytes] = []

    def withhold(answer: bytes) -> bytes:
        late.append(answer)
        return b""

    port = NaiveBoard(network)
    with _board(port, network, retries=0) as board:
        port.faults = [withhold]
        with pytest.raises(ArtefactError, match=r"^.*: no answer within 0\.05 s and its time on the line; .*$"):
            board.scores(images[0])
        port.faults = [lambda answer: late.pop() + answer]  # the result, in front of the answer to what is asked next
        with pytest.raises(ArtefactError, match=r"^.*: an answer of type 0x82 came; .*$"):
            board.scores(images[1])
        np.testing.assert_array_equal(board.scores(images[1]), expected[1])


@pytest.mark.parametrize(
    ("code", "name"), [(1, "UNKNOWN_TYPE"), (2, "WRONG_LENGTH"), (3, "WRONG_CRC"), (4, "SILENCE"), (5, "FRAMING")]
)
def test_faults_are_repeated(code: int, name: str) -> None:
    network = _network("int8")
    images = random_inputs(network, 2, 5)
    port = NaiveBoard(network)
    with _board(port, network) as board:
        port.faults = [lambda _: frame(0xFF, bytes([code]))]
        np.testing.assert_array_equal(board.scores(images), golden.scores(network, images))
        port.faults = [lambda _: frame(0xFF, bytes([code]))] * 9
        with pytest.raises(ArtefactError, match=rf"^.* in 4 attempts .*: the board found {name} in the request; see .*$"):
            board.scores(images)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (frame(0xFF, b"\x06"), ArtefactError, r"the accelerator must be as fast as the line, .*"),
        (frame(0xFF, b"\x07"), ArtefactError, r"the board's fault must be 1\.\.6, not 7; .*"),
        (frame(0x82, bytes(12) + b"\1\0\0\0"), MismatchError, r"image 0: expected class 0 of the scores \[0, 0, 0\], got 1"),
    ],
)
def test_answers_that_no_repetition_mends(answer: bytes, error: type[Exception], message: str) -> None:
    network = _network("uint8")
    port = NaiveBoard(network)
    with _board(port, network) as board:
        port.faults = [lambda _: answer]
        with pytest.raises(error, match=f"^{message}$"):
            board.scores(random_inputs(network, 2, 6))
        assert len(port.requests) == 2


def test_other_networks_are_refused() -> None:
    ours, theirs = _network("uint8", 1), _network("uint8", 2)
    for network in (ours, network_digest(ours).upper()):
        port = NaiveBoard(theirs)
        with pytest.raises(ArtefactError, match=rf"^the board must carry .*, not {network_digest(theirs)}; .*$"):
            _board(port, network)
        assert port.closed
    port = NaiveBoard(ours)
    with _board(port) as board:
        port.network, port.faults = theirs, [lambda _: b""]
        with pytest.raises(ArtefactError, match=r"^the board must stay Identity\(.*, but is now Identity\(.*; open it anew$"):
            board.scores(random_inputs(ours, 1, 0))
    assert port.closed


def test_other_versions_are_refused() -> None:
    port = NaiveBoard(_network("uint8"), [lambda answer: frame(0x81, b"\2" + answer[5:-2])])
    with pytest.raises(ArtefactError, match=r"^the board's protocol must be version 1, not 2$"):
        _board(port)
    port = NaiveBoard(_network("uint8"), [lambda answer: frame(0x81, b"\1\3" + answer[6:-2])])
    with pytest.raises(ArtefactError, match=r"^the board's identity must be 40 bytes of version 1, not 01 03 .*$"):
        _board(port)


def test_a_line_that_never_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    port = NaiveBoard(_network("uint8"))
    monkeypatch.setattr(port, "read", lambda size=1: b"\0" * size)
    with pytest.raises(ArtefactError, match=r"^.* at last: the line does not fall silent; .*$"):
        _board(port, retries=0)


def test_a_port_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network("uint8")
    port = NaiveBoard(network)

    def fail(size: int = 1) -> bytes:
        raise OSError(5, "gone")

    with _board(port, network) as board:
        monkeypatch.setattr(port, "read", fail)
        with pytest.raises(ArtefactError, match=r"^the serial port: \[Errno 5\] gone; see that the board is plugged in .*$"):
            board.scores(random_inputs(network, 1, 0))


def test_ports_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtefactError, match=r"^port must be a serial port that can be opened at 9,600 baud, not '/dev/no': .*$"):
        SerialBoard("/dev/no", 9600)
    with pytest.raises(
        ArtefactError, match=r"^loop://: no right answer in 1 attempts .* type 0x01 came, as if the line gave back .*$"
    ):
        SerialBoard("loop://", 1_000_000, timeout_s=0.05, retries=0)
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ToolError, match=r'^a board on a serial port needs pyserial .*: pip install "bnn_hw\[serial\]"$'):
        SerialBoard("/dev/no")


@pytest.mark.parametrize("options", [{"baud": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"retries": -1}])
def test_options_out_of_range(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=rf"^{name} must be at least .*, not .*$"):
        SerialBoard(NaiveBoard(_network("uint8")), **options)


def test_silence() -> None:
    """16 bytes and 10 ms at least, and a power of two of bit times."""
    for baud in (300, 9600, 115_200, 921_600, 1_000_000, 3_000_000):
        bits = silence_bits(baud)
        assert bits >= 160
        assert bits / baud >= 0.01
        assert bits < 2 * max(160, baud * 0.01 + 1)
        assert bin(bits).count("1") == 1
