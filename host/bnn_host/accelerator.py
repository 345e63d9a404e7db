# SPDX-License-Identifier: Apache-2.0
"""The accelerator on a PYNQ board: images to it, scores and classes from it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bnn_host.board import board_name, connected, exclusive
from bnn_host.power import PowerMeter
from bnn_host.stream import ImageStream, Timing
from bnn_host.unreachable import UnreachableBoardError
from bnn_host.weights import replacement, swap
from bnn_hw.artefacts.manifest import Manifest, read_manifest
from bnn_hw.artefacts.overlay import OVERLAY_FOLDER, read_overlay
from bnn_hw.contract.registers import Register, Status
from bnn_hw.contract.system import block_design
from bnn_hw.errors import ArtefactError, BoardError, MismatchError, UsageError
from bnn_hw.fpga.boards import find_board
from bnn_hw.network import golden
from bnn_hw.network.images import as_batch
from bnn_hw.network.layers import Input
from bnn_hw.network.network import Network
from bnn_hw.network.vectors import load_scores

if TYPE_CHECKING:
    from bnn_host.benchmark import Benchmark

__all__ = ["Accelerator", "build_input"]

_LONGEST_TIMEOUT_S: Final = 86_400  # a day
_CHUNK_IMAGES: Final = 1024  # of a transfer: buffers of contiguous memory, which is scarce, stay small
_CHUNK_CYCLES: Final = 1 << 20  # next to these, the time to begin a transfer is negligible


def build_input(manifest: Manifest) -> Input:
    """Returns the input of a build's accelerator."""
    port = manifest.ports["s_axis"]
    return Input(tuple(port["image_shape"]), port["dtype"], port["pixel_threshold"])


class Accelerator:
    """The accelerator of a build on a PYNQ board.

    `build`: the build's folder with its overlay, or the result of `bnn_hw deploy`. `address`: of a board with PYNQ.remote;
    without it the board that this runs on, or that pynq finds. `device`: one of pynq's devices instead. `timeout_s`: how long
    a transfer may take, beside its computing, and any call of a remote board. `chunk_images`: the most images of a transfer.

    Loads the overlay and holds the board until it is closed, so use it in a ``with`` statement. Threads take turns. No call
    hangs: one that does not end in time raises `BoardError` with the state of DMA and accelerator, and the board is reset for the
    next images; if it no longer answers, the `Accelerator` is closed.

    Raises `ArtefactError` for a build that cannot be used, `BoardError` where there is no board, another process has it, or it
    does not carry the build, and `ToolError` where pynq is missing.
    """

    def __init__(
        self,
        build: str | Path,
        *,
        address: str | None = None,
        device: Any = None,
        timeout_s: float = 10.0,
        chunk_images: int | None = None,
    ) -> None:
        if not 0 < timeout_s <= _LONGEST_TIMEOUT_S:
            raise UsageError(f"timeout_s must be more than 0 and at most {_LONGEST_TIMEOUT_S:,}, not {timeout_s}")
        self._build = Path(build)
        self._manifest = manifest = read_manifest(self._build)
        self._overlay = read_overlay(self._build)
        self._network: Network | None = None  # the network that replaced the build's own, if any
        self._lock = threading.RLock()
        self._closed = ""  # why it is closed, if it is
        chunk = max(1, min(_CHUNK_IMAGES, _CHUNK_CYCLES // manifest.cycles_per_image)) if chunk_images is None else chunk_images
        with ExitStack() as stack:
            device = stack.enter_context(connected(address, device, timeout_s))
            stack.enter_context(exclusive(board_name(device)))
            self._open(device, chunk, timeout_s)
            stack.callback(self._stream.close)
            self._closing = stack.pop_all()

    def _open(self, device: Any, chunk_images: int, timeout_s: float) -> None:
        """Loads the overlay and makes the board ready."""
        from bnn_host.pynq_overlay import load_overlay

        manifest = self._manifest
        if self._overlay.simulated and not device.has_capability("SIMULATED"):
            raise BoardError(
                f"{self._build} has the overlay of a simulated board, but {board_name(device)} is a real one; "
                f"`bnn_hw bitstream {self._build}` makes its bitstream"
            )
        bit = self._build / OVERLAY_FOLDER / f"{self._overlay.name}.bit"
        self._device = device
        self._registers, dma, clock_mhz = load_overlay(bit, device, self._overlay.clock_mhz, timeout_s)
        self._overlay = replace(self._overlay, clock_mhz=clock_mhz)
        self._timing = Timing(manifest.cycles_per_image / (clock_mhz * 1e6), timeout_s)
        self._registers.check_identity(manifest.network_sha256, manifest.plan_sha256)
        classes = manifest.ports["m_axis"]["classes"]
        memory = block_design(find_board(manifest.board), manifest.ports["s_axi"]["address_bits"]).memory
        input_ = build_input(manifest)
        self._stream = ImageStream(device, memory, self._registers, dma, input_, classes, chunk_images, self._timing)

    def __enter__(self) -> "Accelerator":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the buffers and gives the board back. A second time it does nothing."""
        with self._lock:
            self._closed = self._closed or "this Accelerator is closed; make another"
            self._closing.close()

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Returns the scores of images: [images, classes] int32, or [classes] for one image.

        `images`: [images, ...] or one image, in the network's shape or flattened: bool for ``bit`` inputs, else of the
        input's dtype, or of another integer dtype within its range. uint8 pixels for ``int8`` inputs become pixel - 128,
        and for ``bit`` inputs are compared with the network's `pixel_threshold`. At least one image.
        """
        results, one = self._results(images)
        return results[0, :-1] if one else results[:, :-1]

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Returns the class of each image that is as in `scores`: [images] int64, or [] for one image."""
        results, one = self._results(images)
        return results[0, -1].astype(np.int64) if one else results[:, -1].astype(np.int64)

    async def scores_async(self, images: np.ndarray) -> np.ndarray:
        """Returns the same as `scores`, without blocking the event loop."""
        return await asyncio.to_thread(self.scores, images)

    async def classify_async(self, images: np.ndarray) -> np.ndarray:
        """Returns the same as `classify`, without blocking the event loop."""
        return await asyncio.to_thread(self.classify, images)

    def self_test(self) -> int:
        """Replays the build's vectors and returns their number of images.

        After `load_weights` their inputs must give the golden model's scores for the network in use. Raises
        `MismatchError` naming the first image and class whose score differs.
        """
        inputs, expected = load_scores(self._stream.input, self._build / "vectors.npz")
        with self._lock:  # so that no other thread loads weights in between
            if self._network is not None:
                expected = golden.scores(self._network, inputs)
            found = self.scores(inputs)
        wrong = np.argwhere(found != expected)
        if len(wrong):
            image, class_ = wrong[0]
            raise MismatchError(
                f"image {image}, class {class_}: expected a score of {expected[image, class_]}, got {found[image, class_]} "
                f"({len(wrong):,} of {expected.size:,} differ)"
            )
        return len(inputs)

    def load_weights(self, network: Network | str | Path) -> None:
        """Replaces the network by another of the same shape, or by that in a file, without another bitstream.

        The build must have been made with ``--runtime-weights``. The hardware checks the new weights, and takes all of them
        between two images or none: after an error the previous weights are in use, after an interrupt either these or all of
        the new ones; `info` says which. The new network's `pixel_threshold` then applies.

        The build's own weights come back with its `network.safetensors`, or when it is opened anew.
        """
        new = replacement(self._build, self._manifest, network if isinstance(network, Network) else Path(network))
        with self._lock:
            try:
                with self._session():
                    swap(self._registers, new, self._timing.timeout_s)
            finally:  # an interrupt may come after the hardware has put them into use
                if not self._closed and self._registers.digest(Register.DIGEST) == new.digest:
                    self._network = new.network
                    self._stream.input = replace(self._stream.input, pixel_threshold=new.network.input.pixel_threshold)

    def benchmark(self, images: np.ndarray | None = None, *, singles: int = 200) -> "Benchmark":
        """Returns how fast the board classifies a batch of images, and a number of single ones, and where the time goes.

        Without `images` it uses four chunks of random ones.
        """
        from bnn_host.benchmark import measure
        from bnn_hw.network.random_images import random_images

        if singles < 0:
            raise UsageError(f"singles must be 0 or more, not {singles}")
        stream = self._stream
        batch, _ = self._batch(random_images(stream.input, 4 * stream.chunk_images, pixels=True) if images is None else images)
        with self._session():
            meter = PowerMeter(self._device)
            return measure(stream, self._registers, meter, self._manifest, self._overlay, batch, singles)

    def info(self) -> dict[str, Any]:
        """Returns information about the build and the network on the board."""
        with self._session():
            status, digest = self._registers.status(), self._registers.digest(Register.DIGEST)
        manifest = self._manifest
        return {
            "name": manifest.name if self._network is None else self._network.name,
            "network_sha256": digest,
            "plan_sha256": manifest.plan_sha256,
            "build": manifest.name,
            "built_for": manifest.board,
            "board": board_name(self._device),
            "simulated": self._overlay.simulated,
            "runtime_weights": bool(status & Status.RUNTIME_WEIGHTS),
            "clock_mhz": self._overlay.clock_mhz,
            "cycles_per_image": manifest.cycles_per_image,
            "input": asdict(self._stream.input),
            "classes": manifest.ports["m_axis"]["classes"],
            "chunk_images": self._stream.chunk_images,
            "bitstream": dict(self._overlay.facts),
        }

    def _results(self, images: np.ndarray) -> tuple[np.ndarray, bool]:
        """Returns scores and class of each image, [images, classes + 1] int32, and whether it is one image alone."""
        with self._lock:
            batch, one = self._batch(images)
            with self._session():
                return self._stream.run(batch), one

    def _batch(self, images: np.ndarray) -> tuple[np.ndarray, bool]:
        """Returns images as `as_batch` does; at least one."""
        batch, one = as_batch(np.asarray(images), self._stream.input)
        if not len(batch):
            raise ArtefactError("images must be at least one, not 0; an empty batch has no results")
        return batch, one

    @contextmanager
    def _session(self) -> Iterator[None]:
        """Holds the board for an operation that may fail. After an error the board is reset, or the accelerator closed."""
        with self._lock:
            if self._closed:
                raise BoardError(self._closed)
            try:
                yield
            except UnreachableBoardError as error:
                raise UnreachableBoardError(f"{error}; {self._give_up()}") from error
            except BoardError as error:
                state = self._stream.describe()
                raise BoardError(f"{error}; {state}; {self._recover()}") from error
            except BaseException:  # an interrupt too
                self._recover()
                raise

    def _recover(self) -> str:
        """Resets the board and returns how that went."""
        try:
            self._stream.reset()
        except BoardError as error:
            return f"a reset does not help: {error}; {self._give_up()}"
        return "the board has been reset and takes the next images"

    def _give_up(self) -> str:
        """Closes an accelerator that no longer answers, and returns advice for the user."""
        self._closed = "this Accelerator is closed, since its board failed; make another when the board is well"
        self._stream.abandon()
        self._closing.close()
        return self._closed
