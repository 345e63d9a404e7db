# SPDX-License-Identifier: Apache-2.0
"""A board on a serial port: images to it, scores and classes from it, in the frames of docs/uart.md."""

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Protocol, TypeVar

import numpy as np

from bnn_host.images import image_words, pack_images
from bnn_hw.contract.frames import (
    CRC_BYTES,
    HEADER_BYTES,
    IDENTITY_BYTES,
    START,
    Answer,
    Fault,
    Identity,
    Request,
    frame,
    frame_crc,
    silence_bits,
)
from bnn_hw.errors import ArtefactError, MismatchError, ToolError, UsageError
from bnn_hw.network.file import network_digest
from bnn_hw.network.images import as_batch
from bnn_hw.network.network import Input, Network

__all__ = ["SerialBoard", "SerialPort"]

_ADAPTER_S: Final = 0.05  # that bytes may wait in a USB adapter, whose timer is at 16 ms unless somebody changes it
_LONGEST_BYTES: Final = 1 << 16  # of a frame, about
_READ_BYTES: Final = 4096
_BYTE_BITS: Final = 10
_T = TypeVar("_T")


class SerialPort(Protocol):
    """What `SerialBoard` needs of a port: a part of pyserial's interface."""

    timeout: float | None

    def read(self, size: int = 1, /) -> bytes: ...
    def write(self, content: bytes, /) -> int | None: ...
    def close(self) -> None: ...


class _LineError(Exception):
    """An exchange that failed on the line and can be repeated."""


class SerialBoard:
    """A board with a network behind a serial port.

    `port`: a device such as ``/dev/ttyUSB1`` or ``COM3``, a URL of pyserial's, or an open port with pyserial's `read`,
    `write`, `timeout` and `close`. `network`: the `Network` that the board must carry, or its digest; None takes any.
    `timeout_s`: how long an answer may take, beside the bytes' time on the line. An exchange that goes wrong on the line
    is repeated up to `retries` times.

    Use it in a ``with`` statement, or close it. Raises `ArtefactError` where the board does not answer, carries another
    network, or cannot take an image.
    """

    def __init__(
        self,
        port: str | SerialPort,
        baud: int = 115_200,
        network: Network | str | None = None,
        *,
        timeout_s: float = 2.0,
        retries: int = 3,
    ) -> None:
        for name, value, least in (("baud", baud, 1), ("timeout_s", timeout_s, 0.001), ("retries", retries, 0)):
            if not value >= least:
                raise UsageError(f"{name} must be at least {least}, not {value}")
        self._baud, self._timeout_s, self._retries = baud, timeout_s, retries
        self._network = network if isinstance(network, Network) else None
        self._name = port if isinstance(port, str) else "the serial port"
        self._port = _open(port, baud, timeout_s) if isinstance(port, str) else port
        self._line = _Line(self._port, baud, timeout_s)
        self._known: Identity | None = None
        self._in_step = False  # whether the board owes no answer
        try:
            identity = self.identify()
            digest = network_digest(network) if isinstance(network, Network) else network
            if digest is not None and identity.digest != digest.lower():
                raise ArtefactError(
                    f"the board must carry the network with digest {digest}, not {identity.digest}; "
                    "load this network's bitstream, or give the network that it was built from"
                )
            self._known = identity
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "SerialBoard":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the port."""
        self._port.close()

    def identify(self) -> Identity:
        """Returns the network that the board reports; asks the board each time."""
        return self._try(self._synchronize)

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Returns the scores of images: [images, classes] int32, or [classes] for one image.

        `images`: [images, ...] or one image, in the network's shape or flattened: bool for ``bit`` inputs, else of the
        input's dtype, or of another integer dtype within its range. uint8 pixels for ``int8`` inputs become pixel - 128,
        and for ``bit`` inputs are compared with the network's `pixel_threshold`, for which it must be known.
        """
        results, one = self._results(images)
        return results[0, :-1] if one else results[:, :-1]

    def classify(self, images: np.ndarray) -> np.ndarray:
        """Returns the class of each image that is as in `scores`: [images] int64, or [] for one image."""
        results, one = self._results(images)
        return results[0, -1].astype(np.int64) if one else results[:, -1].astype(np.int64)

    def _results(self, images: np.ndarray) -> tuple[np.ndarray, bool]:
        """Returns scores and class of each image, [images, classes + 1] int32, and whether it is one image alone."""
        assert self._known is not None
        identity = self._known
        images = np.asarray(images)
        if self._network is None and identity.dtype == "bit" and images.dtype == np.uint8:
            raise ArtefactError("images must be bool, not uint8, for a threshold of pixels is not known; give the network")
        if self._network is None:
            images = _flattened(images, identity.elements)
        input_ = self._network.input if self._network else Input((identity.elements,), identity.dtype)  # type: ignore[arg-type]
        batch, one = as_batch(images, input_)
        words = np.zeros((len(batch), image_words(input_)), np.uint64)
        pack_images(batch, input_, words)
        results = np.empty((len(batch), identity.classes + 1), np.int32)
        for index, row in enumerate(words):
            request = row.tobytes()[: identity.image_bytes]
            answer = self._try(lambda request=request: self._classify(request))  # type: ignore[misc]
            results[index] = np.frombuffer(answer, "<i4")
            *scores, winner = results[index].tolist()
            if winner != scores.index(max(scores)):
                raise MismatchError(
                    f"image {index}: expected class {scores.index(max(scores))} of the scores {scores}, got {winner}"
                )
        return results, one

    def _try(self, exchange: Callable[[], _T]) -> _T:
        """Returns an exchange's result; repeats the exchange if the line is at fault."""
        faults: list[_LineError] = []
        while len(faults) <= self._retries:
            try:
                return exchange()
            except _LineError as error:
                faults.append(error)
            except OSError as error:  # pyserial's errors are subclasses
                raise ArtefactError(
                    f"{self._name}: {error}; see that the board is plugged in and no other program has it"
                ) from error
        raise ArtefactError(
            f"{self._name}: no right answer in {len(faults)} attempts at {self._baud:,} baud, at last: {faults[-1]}; "
            "see that this is the board's port and its baud rate"
        ) from faults[-1]

    def _classify(self, image: bytes) -> bytes:
        """Returns the result of an image."""
        if not self._in_step:
            self._synchronize()
        assert self._known is not None
        return self._exchange(Request.CLASSIFY, image, Answer.RESULT, self._known.result_bytes)

    def _synchronize(self) -> Identity:
        """Asks for the board's identity; after that answer the board owes no other, because it answers in order.

        So a late result is never taken for the next image's.
        """
        self._line.drain()
        identity = Identity.from_payload(self._exchange(Request.IDENTIFY, b"", Answer.IDENTITY, IDENTITY_BYTES))
        if self._known not in (None, identity):
            raise ArtefactError(f"the board must stay {self._known}, but is now {identity}; open it anew")
        return identity

    def _exchange(self, request: Request, payload: bytes, due: Answer, payload_bytes: int) -> bytes:
        """Returns the payload of the answer to a request."""
        self._in_step = False
        answer = self._line.ask(frame(request, payload), due, payload_bytes)
        self._in_step = True
        return answer


class _Line:
    """Frames on a serial port."""

    def __init__(self, port: SerialPort, baud: int, timeout_s: float) -> None:
        self._port, self._baud, self._timeout_s = port, baud, timeout_s

    def ask(self, request: bytes, due: Answer, payload_bytes: int) -> bytes:
        """Sends a request and returns the payload of its answer."""
        line_bytes = len(request) + HEADER_BYTES + payload_bytes + CRC_BYTES
        deadline = time.monotonic() + self._timeout_s + _BYTE_BITS * line_bytes / self._baud
        self._port.write(request)
        kind, payload = self._receive({due: payload_bytes, Answer.FAULT: 1}, deadline)
        if kind == due:
            return payload
        if payload[0] == Fault.OVERRUN:
            raise ArtefactError(
                "the accelerator must be as fast as the line, but is slower; build it for a lower baud rate or with more PE"
            )
        if payload[0] not in list(Fault):
            raise ArtefactError(
                f"the board's fault must be {min(Fault)}..{max(Fault)}, not {payload[0]}; use the host code of its version"
            )
        raise _LineError(f"the board found {Fault(payload[0]).name} in the request")

    def drain(self) -> None:
        """Reads until the line has been silent long enough for the board to abandon any unfinished request."""
        self._port.timeout = 2 * silence_bits(self._baud) / self._baud + _ADAPTER_S
        deadline = time.monotonic() + self._timeout_s + 2 * self._port.timeout
        while self._port.read(_READ_BYTES):
            if time.monotonic() > deadline:
                raise _LineError("the line does not fall silent")

    def _receive(self, lengths: Mapping[Answer, int], deadline: float) -> tuple[Answer, bytes]:
        """Returns the next frame's type and payload. `lengths`: the allowed types, each with its payload's bytes."""
        while self._read(1, deadline) != bytes([START]):
            pass
        head = self._read(HEADER_BYTES - 1, deadline)
        length = int.from_bytes(head[1:], "little")
        kinds = [kind for kind in lengths if kind == head[0]]
        if not kinds:
            echo = ", as if the line gave back what is sent" if head[0] in list(Request) else ""
            raise _LineError(f"an answer of type {head[0]:#04x} came{echo}")
        if length != lengths[kinds[0]]:
            raise _LineError(f"an answer of type {kinds[0].name} came with {length} bytes instead of {lengths[kinds[0]]}")
        content = head + self._read(length + CRC_BYTES, deadline)
        if frame_crc(content):  # which is 0 where the CRC of the rest stands at the end
            raise _LineError("an answer came with a wrong CRC")
        return kinds[0], content[len(head) : -CRC_BYTES]

    def _read(self, count: int, deadline: float) -> bytes:
        """Returns the next bytes."""
        content = b""
        while len(content) < count:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise _LineError(f"no answer within {self._timeout_s:g} s and its time on the line")
            self._port.timeout = left_s
            content += self._port.read(count - len(content))
        return content


def _flattened(images: np.ndarray, elements: int) -> np.ndarray:
    """Returns images as [images, elements], or one as [elements], if the board does not report their shape; others unchanged."""
    if images.ndim > 1 and math.prod(images.shape[1:]) == elements:
        return images.reshape(len(images), elements)
    return images.reshape(elements) if images.size == elements else images


def _open(port: str, baud: int, timeout_s: float) -> SerialPort:
    try:
        from serial import serial_for_url
    except ImportError as error:
        raise ToolError('a board on a serial port needs pyserial 3.5 or later: pip install "bnn_hw[serial]"') from error
    try:
        write_timeout_s = timeout_s + _BYTE_BITS * _LONGEST_BYTES / baud  # a port that accepts no bytes is an error
        return serial_for_url(port, baudrate=baud, timeout=timeout_s, write_timeout=write_timeout_s)
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"port must be a serial port that can be opened at {baud:,} baud, not {port!r}: {error}; "
            "`python -m serial.tools.list_ports` lists those of this machine"
        ) from error
