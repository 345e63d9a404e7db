# SPDX-License-Identifier: Apache-2.0
"""Images to the accelerator and results from it, through a DMA and buffers of a board."""

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bnn_host.dma import Dma, poll
from bnn_host.images import image_words, pack_images
from bnn_host.register_access import Registers, answering, flags
from bnn_host.unreachable import UnreachableBoardError
from bnn_hw.contract.registers import COUNTER, Register, Status
from bnn_hw.contract.streams import WORD_BYTES
from bnn_hw.contract.system import DMA_LENGTH_BITS, Segment
from bnn_hw.errors import BoardError, MismatchError, UsageError
from bnn_hw.network.layers import Input

__all__ = ["BufferPair", "ImageStream", "Timing", "Transfer"]

_RESULT_BYTES: Final = 4
_LEAST_BYTES: Final = 8192  # of a buffer: XRT places smaller ones out of reach of a DMA with 32-bit addresses
_FRAMING: Final = Status.EARLY_LAST | Status.MISSING_LAST | Status.NULL_BYTE


@dataclass(frozen=True)
class Timing:
    """The time limits: `image_s` for an image by the plan, and `timeout_s` in addition."""

    image_s: float
    timeout_s: float

    def deadline(self, images: int = 0) -> float:
        """Returns the deadline of a number of images that begin now."""
        return time.monotonic() + self.timeout_s + images * self.image_s


@dataclass(frozen=True, eq=False)
class BufferPair:
    """Two buffers of the board: `images` [rows, words] uint64 and `results` [rows, classes + 1] int32, a row an image."""

    images: Any
    results: Any
    images_address: int
    results_address: int


@dataclass(frozen=True, eq=False)
class Transfer:
    """A chunk of `count` images in transfer; `at`: the index of the first in its batch."""

    pair: BufferPair
    at: int
    count: int
    deadline: float


class ImageStream:
    """The path of batches through the accelerator, in chunks of at most `chunk_images`.

    Two pairs of buffers take turns, so that the processor packs a chunk while the previous one is in transfer.
    """

    def __init__(
        self,
        device: Any,
        memory: Segment,
        registers: Registers,
        dma: Dma,
        input_: Input,
        classes: int,
        chunk_images: int,
        timing: Timing,
    ) -> None:
        self.input = input_  # whose pixel_threshold may change
        self._registers, self._dma, self._timing = registers, dma, timing
        self.chunk_images, self.columns = chunk_images, classes + 1
        self._words = image_words(input_)
        most = ((1 << DMA_LENGTH_BITS) - 1) // max(WORD_BYTES * self._words, _RESULT_BYTES * self.columns)
        if not 1 <= chunk_images <= most:
            raise UsageError(f"chunk_images must be 1..{most:,}, which the DMA takes at once, not {chunk_images}")
        self._packet_images = self._images = 0  # the packet size set and the images sent since the accelerator's reset
        self._buffers: list[Any] = []
        self.reset()
        try:
            self._pairs = [self._allocate(device, memory) for _ in range(2)]
        except UnreachableBoardError:
            raise
        except BaseException:
            self.close()
            raise

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Returns scores and class of each image of a batch, as `as_batch` gives it: [images, classes + 1] int32.

        After any exception the stream must be `reset`. Raises `BoardError` and `MismatchError`.
        """
        results = np.empty((len(batch), self.columns), np.int32)
        transfer: Transfer | None = None
        for number, at in enumerate(range(0, len(batch), self.chunk_images)):
            pair = self._pairs[number % 2]
            count = self.fill(pair, batch[at : at + self.chunk_images])
            if transfer:
                self.wait(transfer)
            following = self.begin(pair, at, count)
            if transfer:
                self.collect(transfer, results)
            transfer = following
        assert transfer is not None
        self.wait(transfer)
        self.collect(transfer, results)
        self.check()
        return results

    @property
    def pair(self) -> BufferPair:
        """One of the pairs of buffers, to use while `run` does not."""
        return self._pairs[0]

    def fill(self, pair: BufferPair, chunk: np.ndarray) -> int:
        """Packs images into a buffer that is not in transfer; returns how many."""
        pack_images(chunk, self.input, np.asarray(pair.images))
        with answering():
            pair.images[: len(chunk)].flush()
        return len(chunk)

    def begin(self, pair: BufferPair, at: int, count: int) -> Transfer:
        """Begins the transfer of the first `count` images of a pair, after the previous one has ended."""
        if count != self._packet_images:
            self._registers.write(Register.PACKET_IMAGES, count)  # so that a packet at fault is flagged
            self._packet_images = count
        self._dma.receive(pair.results_address, count * self.columns * _RESULT_BYTES)
        self._dma.send(pair.images_address, count * self._words * WORD_BYTES)
        self._images += count
        return Transfer(pair, at, count, self._timing.deadline(count))

    def wait(self, transfer: Transfer) -> None:
        """Waits until a transfer has ended. Raises `BoardError` where it does not in time, or ends wrongly."""
        if not poll(self._dma.done, transfer.deadline):
            allowed_s = self._timing.timeout_s + transfer.count * self._timing.image_s
            raise BoardError(
                f"images {transfer.at:,}..{transfer.at + transfer.count - 1:,} have not ended within {allowed_s:.3g} s"
            )
        wanted, found = transfer.count * self.columns * _RESULT_BYTES, self._dma.received()
        if found != wanted:
            raise BoardError(f"the results of {transfer.count:,} images must have {wanted:,} bytes, not {found:,}")

    def collect(self, transfer: Transfer, results: np.ndarray) -> None:
        """Takes the results of a transfer that has ended. Raises `MismatchError` where a class is not that of its scores."""
        with answering():
            transfer.pair.results.invalidate()
        rows = results[transfer.at : transfer.at + transfer.count]
        rows[:] = np.asarray(transfer.pair.results)[: transfer.count]
        expected = rows[:, :-1].argmax(axis=1)
        wrong = np.flatnonzero(rows[:, -1] != expected)
        if wrong.size:
            *scores, winner = rows[wrong[0]].tolist()
            raise MismatchError(
                f"image {transfer.at + wrong[0]}: expected class {expected[wrong[0]]} of the scores {scores}, got {winner} "
                f"({wrong.size:,} of {transfer.count:,} differ)"
            )

    def check(self) -> None:
        """Raises `BoardError` if counters and STATUS do not match the transfers since the last reset."""
        for register, unit in (
            (Register.IMAGES_IN, 1),
            (Register.IMAGES_OUT, 1),
            (Register.WORDS_IN, self._words),
            (Register.WORDS_OUT, self.columns),
        ):
            wanted, found = self._images * unit % COUNTER, self._registers.read(register)
            if found != wanted:
                raise BoardError(f"{register.name} must be {wanted:,}, not {found:,}")
        status = self._registers.status()
        if status & _FRAMING:
            raise BoardError(f"STATUS must have no error flag, not {flags(status)}")

    def reset(self) -> None:
        """Ends any transfer and makes DMA and accelerator ready. Raises `BoardError` where that fails."""
        # The accelerator is reset while the DMA is halted: earlier, the rest of an image might follow; later, a running DMA takes
        # words before it has a transfer, and the words of an old result would come first in the next one.
        self._dma.halt(self._timing.deadline())
        self._registers.reset()
        self._dma.start(self._timing.deadline())
        self._packet_images = self._images = 0

    def describe(self) -> str:
        """Returns the state of DMA and accelerator as text, or that they do not answer."""
        try:
            return f"{self._dma.describe()}; {self._registers.describe()}"
        except BoardError as error:
            return str(error)

    def abandon(self) -> None:
        """Abandons the buffers of a board that does not answer."""
        self._buffers.clear()

    def close(self) -> None:
        """Frees the buffers, as far as the board still has them."""
        buffers, self._buffers = self._buffers, []
        for buffer in buffers:
            try:
                with answering():
                    buffer.freebuffer()
            except UnreachableBoardError:
                return
            except BoardError:
                continue

    def _allocate(self, device: Any, memory: Segment) -> BufferPair:
        words, columns = self._words * WORD_BYTES, self.columns * _RESULT_BYTES
        try:
            images, images_address = self._buffer(device, memory, self._words, np.uint64)
            results, results_address = self._buffer(device, memory, self.columns, np.int32)
        except UnreachableBoardError:
            raise
        except BoardError as error:
            raise BoardError(
                f"the board has no {2 * self.chunk_images * (words + columns):,} bytes of contiguous memory for buffers of "
                f"{self.chunk_images:,} images: {error}; give a smaller chunk_images, or close what else holds such memory"
            ) from error
        images[:] = 0  # the bits that pad an image stay so
        with answering():
            results.flush()  # so that no cached part of it is later written back over results
        return BufferPair(images, results, images_address, results_address)

    def _buffer(self, device: Any, memory: Segment, width: int, dtype: type) -> tuple[Any, int]:
        """Returns a buffer with at least one row an image, and its address for the DMA."""
        rows = max(self.chunk_images, -(-_LEAST_BYTES // (width * np.dtype(dtype).itemsize)))
        with answering():
            buffer = device.allocate((rows, width), dtype, cacheable=1)
            address = buffer.physical_address  # a remote board that had no memory refuses this
        self._buffers.append(buffer)
        if address not in memory or address + buffer.nbytes > memory.base + memory.size:
            raise BoardError(f"a buffer lies at {address:#x}, past the {memory.size:,} bytes that the DMA reaches")
        return buffer, address
