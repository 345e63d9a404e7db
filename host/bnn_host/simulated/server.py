# SPDX-License-Identifier: Apache-2.0
"""PYNQ.remote's services for a simulated board, with the answers of the boards' own server.

Import it inside functions only, because it needs pynq and grpc.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import grpc
from pynq.remote import buffer_pb2, buffer_pb2_grpc, mmio_pb2, mmio_pb2_grpc, remote_device_pb2, remote_device_pb2_grpc

from bnn_host.simulated.board import Board
from bnn_host.simulated.faults import Fault
from bnn_host.simulated.memory import Buffer, OutOfMemoryError
from bnn_hw.errors import BoardError

__all__ = ["PORT", "BoardServer"]

PORT: Final = 7967  # PYNQ's client knows no other
_CHUNK_BYTES: Final = 1 << 20
_THREADS: Final = 8
_DIED: Final = 70  # exit code of a server killed by a fault
_ESTABLISHED: Final = "01"
_Endpoint: TypeAlias = tuple[IPv4Address | IPv6Address, int]


class BoardServer:
    """A simulated board on a port of this machine; use it in a ``with`` statement.

    `make_board` receives the function that a board calls with faults that strike its server. Raises `BoardError` if the
    address is not available.
    """

    def __init__(self, make_board: Callable[[Callable[[Fault], None]], Board], address: str) -> None:
        self._released = threading.Event()  # set where RPCs are to be answered
        self._released.set()
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS),
            interceptors=[_Gate(self._released)],
            options=[("grpc.so_reuseport", 0)],  # so that a second server gets an error
        )
        _check_free(address)
        self._server.add_insecure_port(f"{address}:{PORT}")
        self.board = make_board(self._strike)
        remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(_Device(self.board), self._server)
        mmio_pb2_grpc.add_MmioServicer_to_server(_Mmio(self.board), self._server)
        buffer_pb2_grpc.add_RemoteBufferServicer_to_server(_Buffers(self.board), self._server)

    def __enter__(self) -> "BoardServer":
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._released.set()
        self._server.stop(grace=0).wait()
        self.board.close()

    def wait(self) -> None:
        """Serves until the process is interrupted."""
        self._server.wait_for_termination()

    def _strike(self, fault: Fault) -> None:
        if fault is Fault.SERVER_DIES:
            os._exit(_DIED)
        self._released.clear()


def _check_free(address: str) -> None:
    """Raises `BoardError` if the port of an address is not available. gRPC's own error would fill a page."""
    try:
        if not address:
            raise OSError("it is empty")
        socket.create_server((address, PORT)).close()
    except (OSError, TypeError, UnicodeError) as error:  # the last two for an invalid host name
        raise BoardError(
            f"{address}:{PORT} must be a free address of this machine ({error}); end the board that has it, or give another "
            "--address, such as 127.0.0.2"
        ) from error


class _Gate(grpc.ServerInterceptor):
    """Lets RPCs through as long as an event is set."""

    def __init__(self, released: threading.Event) -> None:
        self._released = released

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        self._released.wait()
        return continuation(details)


class _Device(remote_device_pb2_grpc.RemoteDeviceServicer):
    """Files, and through them the FPGA's configuration."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def existsfile(self, request: Any, context: grpc.ServicerContext) -> Any:
        return remote_device_pb2.ExistsFileResponse(exists=self._board.files.exists(request.file_path))

    def readfile(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            content = self._board.files.read(request.file_path)
        except FileNotFoundError:
            context.abort(grpc.StatusCode.NOT_FOUND, "File not found")
        for start in range(0, len(content), _CHUNK_BYTES):
            yield remote_device_pb2.ReadFileResponse(data=content[start : start + _CHUNK_BYTES])

    def writefile(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        path, parts = "", []
        for request in requests:
            path = request.file_path
            parts.append(request.data)
        try:
            _free_disconnected(self._board)
            self._board.files.write(path, b"".join(parts))
        except (OSError, BoardError) as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        return remote_device_pb2.WriteFileResponse()

    def set_bitstream_attrs(self, request: Any, context: grpc.ServicerContext) -> Any:
        return remote_device_pb2.SetBitstreamAttrsResponse()


class _Mmio(mmio_pb2_grpc.MmioServicer):
    """Registers. An id is the range itself, so that a client that disconnects leaves nothing."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def get_mmio(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            self._board.check_range(request.base_addr, request.length)
        except BoardError as error:
            return mmio_pb2.GetMmioResponse(msg=str(error))
        return mmio_pb2.GetMmioResponse(mmio_id=f"{request.base_addr:#x}:{request.length}")

    def read(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return mmio_pb2.ReadResponse(data=self._board.read(self._address(request, context)))
        except BoardError as error:
            return mmio_pb2.ReadResponse(msg=str(error))

    def write(self, request: Any, context: grpc.ServicerContext) -> Any:
        # The boards' server writes the first word and drops the rest.
        if len(request.data) != 4:
            return mmio_pb2.WriteResponse(msg=f"MMIO over PYNQ.remote writes 4 bytes, not {len(request.data)}; write word by word")
        try:
            self._board.write(self._address(request, context), int.from_bytes(request.data, "little"))
        except BoardError as error:
            return mmio_pb2.WriteResponse(msg=str(error))
        return mmio_pb2.WriteResponse()

    def _address(self, request: Any, context: grpc.ServicerContext) -> int:
        try:
            base, length = (int(part, 0) for part in request.mmio_id.split(":"))
        except ValueError:
            context.abort(grpc.StatusCode.NOT_FOUND, "MMIO Object not found.")
        if not 0 <= request.offset <= length - 4:
            raise BoardError(f"offset must be 0..{length - 4}, not {request.offset}")
        return base + int(request.offset)


class _Buffers(buffer_pb2_grpc.RemoteBufferServicer):
    """Memory. A buffer's id is its address; it belongs to the connection that requested it."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def allocate(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            with self._board.lock:
                buffer = self._board.memory.allocate(request.size, context.peer())
        except OutOfMemoryError:
            return buffer_pb2.AllocateResponse()  # as the boards' server answers; PYNQ finds no buffer at the next request
        return buffer_pb2.AllocateResponse(buffer_id=str(buffer.address))

    def freebuffer(self, request: Any, context: grpc.ServicerContext) -> Any:
        buffer = self._buffer(request, context)
        with self._board.lock:
            self._board.memory.free(buffer.address)
        return buffer_pb2.FreeBufferResponse()

    def write(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        offset = 0
        for request in requests:
            content = self._board.memory.content(self._buffer(request, context))
            if offset + len(request.data) > len(content):
                return buffer_pb2.BufferWriteResponse(msg="Buffer overflow.")
            content.data[offset : offset + len(request.data)] = request.data
            offset += len(request.data)
        return buffer_pb2.BufferWriteResponse()

    def read(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        content = self._board.memory.content(self._buffer(request, context)).tobytes()
        for start in range(0, len(content), _CHUNK_BYTES):
            yield buffer_pb2.BufferReadResponse(data=content[start : start + _CHUNK_BYTES])

    def flush(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._buffer(request, context)
        return buffer_pb2.FlushResponse()

    def invalidate(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._buffer(request, context)
        return buffer_pb2.InvalidateResponse()

    def physical_address(self, request: Any, context: grpc.ServicerContext) -> Any:
        return buffer_pb2.AddressResponse(address=self._buffer(request, context).address)

    def virtual_address(self, request: Any, context: grpc.ServicerContext) -> Any:
        return buffer_pb2.AddressResponse(address=self._buffer(request, context).address)

    def cacheable(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._buffer(request, context)
        return buffer_pb2.CacheableResponse(cacheable=True)

    def _buffer(self, request: Any, context: grpc.ServicerContext) -> Buffer:
        with self._board.lock:
            buffer = self._board.memory.find(int(request.buffer_id)) if request.buffer_id.isdigit() else None
        if buffer is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Buffer not found.")  # this raises
        assert buffer is not None
        return buffer


def _free_disconnected(board: Board) -> None:
    """Frees the buffers of ended connections. gRPC does not report the end of a connection, Linux does."""
    connected = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, remote, state = line.split()[:4]
            if int(local.rpartition(":")[2], 16) == PORT and state == _ESTABLISHED:
                connected.add(_linux_endpoint(remote))
    with board.lock:
        for owner in board.memory.owners:
            if _grpc_endpoint(str(owner)) not in connected:
                board.memory.free_of(owner)


def _linux_endpoint(text: str) -> _Endpoint:
    """Returns an address from Linux's tables: 32-bit words in the machine's order of bytes, and the port, in hexadecimal."""
    words, _, port = text.partition(":")
    packed = b"".join(int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8))
    address = ip_address(packed)
    return getattr(address, "ipv4_mapped", None) or address, int(port, 16)


def _grpc_endpoint(peer: str) -> _Endpoint:
    """Returns the address in a gRPC peer string: ``ipv4:127.0.0.1:1234``, or ``ipv6:%5B::1%5D:1234``."""
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    address = ip_address(host.strip("[]").partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address, int(port)
