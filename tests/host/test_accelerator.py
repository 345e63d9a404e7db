# SPDX-License-Identifier: Apache-2.0
"""The driver on simulated boards: the real pynq, a DMA and the Verilog, in this process or served as PYNQ.remote."""

import asyncio
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn_host import Accelerator
from bnn_host.board import exclusive
from bnn_hw.artefacts.manifest import read_manifest
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, seal_overlay
from bnn_hw.contract.registers import Register
from bnn_hw.errors import ArtefactError, BoardError, MismatchError, ToolError, UsageError
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network import golden
from bnn_hw.network.file import network_digest
from support.accelerator_boards import in_process, small_build, small_network, tiny_build
from support.cocotb_run import fresh_seed
from support.simulated_board import environment, free_address, needs_pynq, serving
from support.strategies import random_inputs

pytestmark = needs_pynq


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_build(tmp_path_factory)


def _open(build: Path, device: Any, **options: Any) -> Accelerator:
    return Accelerator(build, device=device, **{"timeout_s": 30, **options})


def test_packaged_images(tiny: Path) -> None:
    """Through Overlay, allocate, DMA and driver, all packaged images have golden's scores, as the vectors say too."""
    network, test = packaged_network("mnist-tiny"), packaged_test_images(packaged_network("mnist"))
    assert test is not None
    expected = golden.scores(network, test.images)
    with serving(tiny, address := free_address()), Accelerator(tiny, address=address, timeout_s=60, chunk_images=100) as board:
        scores, classes = board.scores(test.images), board.classify(test.images)
        assert (len(scores), scores.dtype, classes.dtype) == (256, np.int32, np.int64)
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(classes, expected.argmax(axis=1))
        one = board.classify(test.images[3])
        assert (one.shape, int(one)) == ((), int(expected[3].argmax()))
        assert board.self_test() == 256
        loaded = board._device.read_file("/sys/class/fpga_manager/fpga0/firmware").decode()
        assert re.fullmatch(r"mnist_tiny_[0-9a-f]{8}-[0-9a-f]{16}\.bin", loaded)  # pynq sends no name twice
        assert board.info()["network_sha256"] == network_digest(network)


def test_the_clock_is_the_overlays(small: Path, tmp_path: Path) -> None:
    """The clock that the timing was checked at is set, though the handoff names none, as Vivado's of a Zynq-7000, or another."""
    from pynq import Clocks

    build = tmp_path / "build"
    shutil.copytree(small, build)
    handoff = next((build / OVERLAY_FOLDER).glob("*.hwh"))
    changed, clocks = re.subn(r'<PARAMETER NAME="PSU__CRL_APB__PL\d_REF_CTRL__ACT_FREQMHZ" [^>]*>', "", handoff.read_text())
    changed, divisors = re.subn(r'(NAME="PCW_FCLK0_PERIPHERAL_DIVISOR0" VALUE=)"\d+"', r'\1"63"', changed)
    assert (clocks, divisors) == (4, 1)
    handoff.write_text(changed)
    bit = handoff.with_suffix(".bit")
    bit.write_bytes(bit.read_bytes()[:-1] + b"\xa5")  # since pynq keeps what it has parsed by the digest of the .bit
    # The processor's PLL runs at 1 GHz, so 80 MHz is between two divisors, and the nearest one too fast.
    for clock_mhz, reached_mhz in ((62.5, 62.5), (80, 1000 / 13)):
        seal_overlay(build / OVERLAY_FOLDER, build, read_manifest(build), clock_mhz=clock_mhz, simulated=True, facts={})
        with in_process(build) as device, _open(build, device) as board:
            assert board.info()["clock_mhz"] == pytest.approx(reached_mhz, rel=1e-5)
            assert Clocks.fclk0_mhz == pytest.approx(reached_mhz, rel=1e-5)
            assert board.self_test() == 64


def test_batches_of_any_size(small: Path) -> None:
    """Batches of less and more than a chunk and of many chunks, of every shape and dtype that the input takes."""
    seed = fresh_seed()
    network = small_network(1)
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 7, 10), np.uint8)
    expected = golden.scores(network, pixels)
    with in_process(small) as device:
        for chunk_images in (1, 7, 60):
            with _open(small, device, chunk_images=chunk_images) as board:
                for count in (60, 1, 7, 8, 59):
                    np.testing.assert_array_equal(board.scores(pixels[:count]), expected[:count])
        with _open(small, device) as board:
            assert board.info()["chunk_images"] == 1024
            for given in (pixels[..., None], pixels.reshape(60, 70), (pixels >= 100), (pixels >= 100).astype(np.int64)):
                np.testing.assert_array_equal(board.scores(given), expected)
            assert board.scores(pixels[5]).tolist() == expected[5].tolist()
            assert int(board.classify(pixels[5].reshape(70))) == expected[5].argmax()


def test_async_leaves_the_loop_free(small: Path) -> None:
    network, images = small_network(1), random_inputs(small_network(1), 50, 3)
    expected = golden.scores(network, images)

    async def run(board: Accelerator) -> int:
        pauses = 0
        work = asyncio.gather(board.scores_async(images), board.classify_async(images), board.scores_async(images[0]))
        while not work.done():
            await asyncio.sleep(0)
            pauses += 1
        scores, classes, one = await work
        np.testing.assert_array_equal(scores, expected)
        np.testing.assert_array_equal(classes, expected.argmax(axis=1))
        np.testing.assert_array_equal(one, expected[0])
        return pauses

    with in_process(small) as device, _open(small, device) as board:
        assert asyncio.run(run(board)) > 3


def test_threads_take_turns(small: Path) -> None:
    images = random_inputs(small_network(1), 90, 4)
    expected = golden.scores(small_network(1), images)
    found: dict[int, np.ndarray] = {}
    with in_process(small) as device, _open(small, device, chunk_images=4) as board:

        def classify(at: int) -> None:
            found[at] = board.scores(images[at : at + 30])

        threads = [threading.Thread(target=classify, args=(at,)) for at in (0, 30, 60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    np.testing.assert_array_equal(np.concatenate([found[at] for at in (0, 30, 60)]), expected)


def test_ten_thousand_images_leave_nothing_behind(small: Path) -> None:
    """Neither buffers of the board nor open files, in the board's use and after it."""
    seed = fresh_seed()
    images = random_inputs(small_network(1), 500, seed)
    expected = golden.scores(small_network(1), images)
    counts = np.random.default_rng(seed).integers(1, 500, 1000).tolist()
    files = Path("/proc/self/fd")
    with in_process(small) as device:
        before = len(list(files.iterdir()))
        with _open(small, device, chunk_images=64) as board:
            used, opened, done = device.board.memory.used, len(list(files.iterdir())), 0
            while done < 10_000:
                count = counts.pop()
                np.testing.assert_array_equal(board.scores(images[:count]), expected[:count])
                done += count
            assert used > 0
            assert device.board.memory.used == used
            assert len(list(files.iterdir())) == opened
        assert device.board.memory.used == 0
        assert len(list(files.iterdir())) == before


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 7, 10), np.uint8), r"images must be at least one, not 0; an empty batch has no results"),
        (
            np.zeros((2, 7, 11), np.uint8),
            r"images must be \[images, 7, 10, 1\] or one \[7, 10, 1\], not \[2, 7, 11\]",
        ),
        (np.zeros((2, 10, 7), np.uint8), r"images must be \[images, 7, 10, 1\] or one .*, not \[2, 10, 7\]"),
        (np.zeros((2, 7, 10), np.float32), r"images must be bool, or uint8 pixels, not float32; round them first, .*"),
        (np.full((2, 7, 10), 2), r"elements of images must be 0\.\.1 for bit inputs, not 2; pixels must be uint8"),
    ],
)
def test_images_that_do_not_fit_do_not_reach_the_board(small: Path, images: np.ndarray, message: str) -> None:
    with in_process(small) as device, _open(small, device) as board:
        before = board.info(), device.board.memory.used
        with pytest.raises(ArtefactError, match=f"^{message}$"):
            board.classify(images)
        with pytest.raises(UsageError, match=r"^singles must be 0 or more, not -3$"):
            board.benchmark(singles=-3)
        assert (board.info(), device.board.memory.used) == before
        assert board.self_test() == 64


def test_memory_that_the_board_does_not_have(small: Path) -> None:
    """As each of pynq's devices says it; a smaller chunk goes."""
    address = free_address()
    message = (
        r"^the board has no 2,097,152 bytes of contiguous memory for buffers of 32,768 images: .*; give a smaller chunk_images, .*$"
    )
    with in_process(small) as device:
        with pytest.raises(BoardError, match=message):
            _open(small, device, chunk_images=32_768)
        assert device.board.memory.used == 0
        _open(small, device).close()
    with serving(small, address, options=("--memory-mib", "1")):
        for _ in range(2):
            with pytest.raises(BoardError, match=message):
                Accelerator(small, address=address, chunk_images=32_768)
        with Accelerator(small, address=address) as board:
            assert board.self_test() == 64
        with pytest.raises(UsageError, match=r"^chunk_images must be 1\.\.4,194,303, which the DMA takes at once, not 4194304$"):
            Accelerator(small, address=address, chunk_images=1 << 22)


def test_memory_past_the_reach_of_the_dma(small: Path) -> None:
    """A buffer whose address has more bits than the DMA's register is refused, not written to elsewhere."""
    with in_process(small) as device:
        device.board.memory.base += 1 << 32
        with pytest.raises(BoardError, match=r"^the board has no .*: a buffer lies at 0x11[0-9a-f]*, past the 536,870,912 .*$"):
            _open(small, device)


def test_a_board_that_is_started_anew(small: Path) -> None:
    """Between two batches: an error, not a traceback, the `Accelerator` is closed, and the next one is right."""
    address, images = free_address(), np.zeros((9, 70), bool)
    with serving(small, address):
        board = Accelerator(small, address=address)
        board.classify(images)
    with serving(small, address):
        # Where gRPC has not noticed yet, it is the connection that fails, and else what the new server does not know.
        closed = r"(does not answer: .*|; a reset does not help: .*); this Accelerator is closed, since its board failed; .*"
        with pytest.raises(BoardError, match=rf"^.*{closed}$"):
            board.classify(images)
        with pytest.raises(BoardError, match=r"^this Accelerator is closed, since its board failed; .*$"):
            board.classify(images)
        with Accelerator(small, address=address) as again:
            assert again.self_test() == 64


def test_closed(small: Path) -> None:
    with in_process(small) as device:
        board = _open(small, device)
        board.close()
        board.close()
        for action in (board.self_test, board.info, board.benchmark, lambda: board.classify(np.zeros(70, bool))):
            with pytest.raises(BoardError, match=r"^this Accelerator is closed; make another$"):
                action()
        assert device.board.memory.used == 0


def test_other_builds_and_damaged_ones(small: Path, tiny: Path, tmp_path: Path) -> None:
    with in_process(small) as device:
        with pytest.raises(BoardError, match=r"^the simulated pynq-z2 takes the bitstream of its build alone, that of random .*$"):
            _open(tiny, device)
        with pytest.raises(ArtefactError, match=rf"^{tmp_path} is not a build; `bnn_hw build` makes one$"):
            _open(tmp_path, device)
        with _open(small, device) as board:
            assert board.self_test() == 64
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", small, copy], check=True)
    next((copy / OVERLAY_FOLDER).glob("*.hwh")).write_text("other")
    with pytest.raises(ArtefactError, match=r"^.*random_[0-9a-f]{8}\.hwh is not as overlay\.json has it; .*$"):
        Accelerator(copy)
    subprocess.run(["rm", "-r", copy / OVERLAY_FOLDER], check=True)
    with pytest.raises(ArtefactError, match=r"^.* has no bitstream; `bnn_hw bitstream .*$"):
        Accelerator(copy)


def test_a_stand_in_stays_off_real_boards(small: Path) -> None:
    with in_process(small) as device:
        del device.capabilities["SIMULATED"]
        with pytest.raises(
            BoardError, match=r"^.* has the overlay of a simulated board, but simulated-.* is a real one; `bnn_hw .*$"
        ):
            _open(small, device)
        device.capabilities["SIMULATED"] = True
        _open(small, device).close()


def test_no_board_and_no_pynq(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYNQ_REMOTE_DEVICES", raising=False)
    with pytest.raises(BoardError, match=r"^no board: No Devices Found; run this on a board as root \(sudo -i\), or .*$"):
        Accelerator(small)
    begun = time.monotonic()
    with pytest.raises(
        BoardError, match=r"^the board at 127\.0\.0\.99 does not answer: Failed to connect .*; see that it is on, .*$"
    ):
        Accelerator(small, address="127.0.0.99")
    assert time.monotonic() - begun < 10
    monkeypatch.setenv("PYNQ_REMOTE_DEVICES", "127.0.0.99, 127.0.0.98")
    with pytest.raises(BoardError, match=r"^the board at 127\.0\.0\.99 does not answer: .*$"):
        Accelerator(small)
    with monkeypatch.context() as older:
        older.setattr("bnn_host.board.version", lambda name: "3.1.2")
        with pytest.raises(ToolError, match=r'^PYNQ\.remote needs pynq 4 or newer, not 3\.1\.2: pip install "pynq>=4"$'):
            Accelerator(small)
    with pytest.raises(BoardError, match=r"^the board's address 'no such board' is not known: .*; give its IP address$"):
        Accelerator(small, address="no such board")
    with pytest.raises(UsageError, match=r"^timeout_s must be more than 0 and at most 86,400, not 0$"):
        Accelerator(small, timeout_s=0)
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(ToolError, match=r"^pynq, which drives a board, cannot be imported: .*; on a board use the Python .*$"):
        Accelerator(small)


def test_benchmark(small: Path) -> None:
    with in_process(small) as device, _open(small, device, chunk_images=32) as board:
        result = board.benchmark(singles=5)
        assert (result.images, result.chunk_images, result.simulated, result.clock_mhz) == (128, 32, True, 100)
        assert result.images_per_s > 0
        assert 0 < result.compute_s * 1e8 <= result.cycles_per_image * 32 + 1
        assert result.compute_s < result.transfer_s
        assert result.cycles_per_image >= result.planned_cycles_per_image
        assert list(result.latency_ms) == ["p50", "p90", "p99"]
        assert 0 < result.latency_ms["p50"] <= result.latency_ms["p90"] <= result.latency_ms["p99"]
        assert (result.power_w, result.power_missing) == ({}, "the board has no sensors of power")
        assert board.self_test() == 64


def test_power(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of each rail that has a sensor of power; pynq's own sensor reads a file as sysfs has it."""
    from pynq import pmbus

    (tmp_path / "power1_input").write_text("2500\n")
    rails = {"12V": pmbus.Rail("12V"), "3V3": pmbus.Rail("3V3")}
    rails["12V"].power = pmbus.SysFSSensor(str(tmp_path / "power1_input"), "W", "12V_power", 0.001)
    monkeypatch.setattr(pmbus, "get_rails", lambda: rails)
    with in_process(small) as device, _open(small, device, chunk_images=8) as board:
        images = np.zeros((8, 70), bool)
        result = board.benchmark(images, singles=1)
        assert (result.power_w, result.power_missing) == ({"12V": 2.5}, "")
        (tmp_path / "power1_input").unlink()
        result = board.benchmark(images, singles=1)
        assert result.power_w == {}
        assert re.fullmatch(r"the sensors cannot be read: .*No such file.*power1_input'", result.power_missing)


def test_a_class_that_is_not_that_of_its_scores(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_process(small) as device, _open(small, device, chunk_images=2) as board:
        images = random_inputs(small_network(1), 5, 6)
        allocated = board._stream._pairs[0].results
        monkeypatch.setattr(type(allocated), "invalidate", lambda self: self.__setitem__((0, -1), 1 - (self[0, -1] > 0)))
        with pytest.raises(MismatchError, match=r"^image 0: expected class \d of the scores \[.*\], got \d \(1 of 2 differ\)$"):
            board.scores(images)
        monkeypatch.undo()
        np.testing.assert_array_equal(board.scores(images), golden.scores(small_network(1), images))


def test_an_interrupt_leaves_the_board_usable(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_inputs(small_network(1), 20, 7)

    def interrupt(flight: object) -> None:
        raise KeyboardInterrupt

    with in_process(small) as device, _open(small, device, chunk_images=4) as board:
        board.scores(images)
        monkeypatch.setattr(board._stream, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            board.scores(images)
        monkeypatch.undo()
        assert board._registers.read(Register.IMAGES_IN) == 0
        np.testing.assert_array_equal(board.scores(images), golden.scores(small_network(1), images))


def test_what_the_accelerator_counts_is_compared(small: Path) -> None:
    """Packets of another length, and a reset that the driver does not know of: an error, and the next batch is right."""
    images = random_inputs(small_network(1), 8, 9)
    expected = golden.scores(small_network(1), images)
    with in_process(small) as device, _open(small, device) as board:
        for disturb, message in (
            (lambda: board._registers.write(Register.PACKET_IMAGES, 7), r"the results of 8 images must have 128 bytes, not 112"),
            (board._registers.reset, r"IMAGES_IN must be 16, not 8"),
        ):
            np.testing.assert_array_equal(board.scores(images), expected)
            disturb()
            with pytest.raises(BoardError, match=rf"^{message}; DMA MM2S: .*; the board has been reset and takes the next images$"):
                board.scores(images)
            np.testing.assert_array_equal(board.scores(images), expected)
            board._stream.reset()
        np.testing.assert_array_equal(board.scores(images), expected)
        board._registers.write(Register.PACKET_IMAGES, 9)  # one more than the driver sends
        with pytest.raises(BoardError, match=r"^STATUS must have no error flag, not 0x42 \(EARLY_LAST, RUNTIME_WEIGHTS\); .*$"):
            board.scores(images)
        np.testing.assert_array_equal(board.scores(images), expected)


HOLD = """
import sys
from bnn_host import Accelerator
from bnn_host.board import exclusive
from bnn_hw.network.vectors import load_scores
import numpy as np
with Accelerator(sys.argv[1], address=sys.argv[2], timeout_s=60, chunk_images=16) as board:
    images = np.zeros((64, 70), bool)
    print("holds", flush=True)
    while True:
        board.scores(images)
"""


def test_two_processes_and_a_killed_one(small: Path) -> None:
    """The second one is told at once who has the board, and has it as soon as the first one is killed in mid-batch."""
    address = free_address()
    with serving(small, address):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, small, address], env=environment(), stdout=subprocess.PIPE, text=True
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "holds\n"
            begun = time.monotonic()
            with pytest.raises(BoardError, match=rf"^the board {address} is in use by process {holder.pid}; close its .*$"):
                Accelerator(small, address=address)
            assert time.monotonic() - begun < 5
            own = exclusive("another")
            with own, pytest.raises(BoardError, match=r"^the board another is in use by this process; close its Accelerator$"):
                exclusive("another").__enter__()
            refused = _run("selftest", small, "--address", address)
            assert (refused.returncode, refused.stdout) == (2, "")
            assert re.fullmatch(rf"error: the board {address} is in use by process {holder.pid}; .*\n", refused.stderr)
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()
        with Accelerator(small, address=address, timeout_s=60) as board:
            assert board.self_test() == 64


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnn_host", *map(str, arguments)]
    without = {key: value for key, value in environment().items() if key != "PYNQ_REMOTE_DEVICES"}
    return subprocess.run(command, env=without, capture_output=True, text=True, timeout=120)
