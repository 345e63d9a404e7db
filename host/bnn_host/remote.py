# SPDX-License-Identifier: Apache-2.0
"""A board with PYNQ.remote, each of whose calls has a deadline. Import it late, because it needs pynq and grpc."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from pynq.pl_server.remote_device import GrpcChannel, RemoteDevice

from bnn_host.unreachable import UnreachableBoardError
from bnn_hw.errors import BoardError

__all__ = ["BoundedRemoteDevice"]

_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class BoundedRemoteDevice(RemoteDevice):
    """pynq's `RemoteDevice`, whose calls end within `timeout_s` and raise `BoardError` on failure.

    pynq gives its calls no deadline, so an unanswered one would wait for ever, even the first, in the constructor.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        try:
            super().__init__(ip_addr=address)
        except RuntimeError as error:  # pynq's own, after 5 s
            raise UnreachableBoardError(
                f"the board at {address} does not answer: {error}; see that it is on, in this network, and runs PYNQ.remote"
            ) from error

        # `bnn_hw board-sim` says so of its Linux.
        self.capabilities["SIMULATED"] = b"simulated" in self.read_file("/proc/version")

    @property
    def client(self) -> GrpcChannel:
        """What holds the channel. The constructor sets it, and makes its stubs of the channel that it finds here."""
        return self._client

    @client.setter
    def client(self, client: GrpcChannel) -> None:
        self._calls = _Calls(f"the board at {self.ip_addr}", self._timeout_s)
        client.channel = grpc.intercept_channel(client.channel, self._calls)
        self._client = client

    def disconnect(self) -> None:
        """Ends the connection. Later calls by pynq, such as freeing a lost buffer, then fail at once."""
        self._calls.ended = True  # because in grpc 1.64 a call on a closed channel ends the whole process
        self._client.channel.close()


class _Calls(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Gives each call a deadline, and turns its failure into a `BoardError`."""

    def __init__(self, board: str, timeout_s: float) -> None:
        self._board, self._timeout_s = board, timeout_s
        self.ended = False

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        call = continuation(self._bounded(details), request)
        if call.exception() is not None:  # this waits for the answer
            raise self._error(call.exception())
        return call

    intercept_stream_unary = intercept_unary_unary

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Iterator[Any]:
        try:
            yield from continuation(self._bounded(details), request)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _bounded(self, details: Any) -> Any:
        """Returns the callable, with a deadline added."""
        if self.ended:
            raise UnreachableBoardError(f"{self._board} is no longer connected")
        return details._replace(timeout=self._timeout_s)

    def _error(self, error: Any) -> BoardError:
        if error.code() in _SILENT:
            return UnreachableBoardError(f"{self._board} does not answer: {error.code().name}, {error.details()}")
        return BoardError(f"{self._board} refuses: {error.details()}")
