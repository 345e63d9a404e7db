# SPDX-License-Identifier: Apache-2.0
"""The accelerator's Verilog as a part of this process, clocked and driven through its buses by whoever holds it."""

import ctypes
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from platform import machine
from tempfile import TemporaryDirectory

import numpy as np

from bnn_hw.errors import ToolError
from bnn_hw.tools import cxx_compiler
from bnn_rtl.simulation import compile_harness

__all__ = ["LiveAccelerator", "compiled"]


class _Streams(ctypes.Structure):
    """As `Streams` in live.cpp."""

    _fields_ = (
        ("send_data", ctypes.c_void_p),
        ("send_bytes", ctypes.c_uint64),
        ("sent_bytes", ctypes.c_uint64),
        ("receive_data", ctypes.c_void_p),
        ("receive_bytes", ctypes.c_uint64),
        ("received_bytes", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("words_in", ctypes.c_uint64),
        ("words_out", ctypes.c_uint64),
        ("send_last", ctypes.c_uint8),
        ("receiving", ctypes.c_uint8),
        ("heed_last", ctypes.c_uint8),
        ("received_last", ctypes.c_uint8),
        ("overflowed", ctypes.c_uint8),
    )


def compiled(verilog: str, top: str, cache: Path) -> Path:
    """Returns the library of an accelerator, module `top`, from the folder `cache`, where it is kept for the next time.

    Raises `ToolError` when Verilator or a C++ compiler is missing or fails.
    """
    # How it is compiled, flags and all, stands in simulation.py.
    harness, recipe = (files("bnn_rtl").joinpath(name).read_bytes() for name in ("live.cpp", "simulation.py"))
    compiler = cxx_compiler()
    made_of = (verilog.encode(), harness, recipe, *(part.encode() for part in (version("verilator"), *compiler, machine())))
    digest = sha256(b"".join(sha256(part).digest() for part in made_of)).hexdigest()
    library = cache / f"{top}-{digest[:32]}.so"
    if not library.exists():
        cache.mkdir(exist_ok=True)
        with TemporaryDirectory(prefix=f".{top}-", dir=cache) as temporary:
            folder = Path(temporary)
            (folder / "design.v").write_text(verilog)
            (folder / "harness.cpp").write_bytes(harness)
            compile_harness(folder, compiler, top=top, library=True).replace(library)
    return library


class LiveAccelerator:
    """An accelerator from a library of `compiled`, as it is right after the configuration of the FPGA and a reset.

    It has `address_bits` of addresses. Time passes in `run`, and a few cycles in each `read` and `write`. It is not safe for
    threads, but while it runs others do.
    """

    def __init__(self, library: Path, address_bits: int) -> None:
        self._addresses = 1 << address_bits
        self._library = ctypes.CDLL(str(library))
        for name, result, arguments in (
            ("live_new", ctypes.c_void_p, ()),
            ("live_delete", None, (ctypes.c_void_p,)),
            ("live_streams", ctypes.POINTER(_Streams), (ctypes.c_void_p,)),
            ("live_run", ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_double)),
            ("live_read", ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint32))),
            ("live_write", ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32)),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._live = self._library.live_new()
        self._streams: _Streams = self._library.live_streams(self._live).contents
        self._sending: np.ndarray | None = None  # kept, so that their memory is
        self._receiving: np.ndarray | None = None

    def __del__(self) -> None:
        if hasattr(self, "_live"):
            self._library.live_delete(self._live)

    def run(self, cycles: int, most_s: float = 3600.0) -> bool:
        """Runs for `cycles`, but not longer than `most_s`, or until what is sent or received has ended.

        Returns whether a word moved.
        """
        return bool(self._library.live_run(self._live, cycles, most_s))

    def read(self, address: int) -> int:
        """Returns the register at a byte address, read over AXI-Lite."""
        data = ctypes.c_uint32()
        self._check(self._library.live_read(self._live, address % self._addresses, ctypes.byref(data)), "read", address)
        return data.value

    def write(self, address: int, value: int) -> None:
        """Writes a register over AXI-Lite."""
        self._check(self._library.live_write(self._live, address % self._addresses, value), "write", address)

    def _check(self, response: int, access: str, address: int) -> None:
        if response:
            raise ToolError(f"the Verilog must answer a {access} of {address:#x} with OKAY, not {response}; build again")

    def send(self, content: np.ndarray, *, last: bool) -> None:
        """Offers bytes, [bytes] uint8, on the input stream, with TLAST at their end where it is the `last` of a packet.

        What was offered before and not taken is no longer offered.
        """
        self._sending, streams = content, self._streams
        streams.send_data, streams.send_bytes, streams.sent_bytes = content.ctypes.data, len(content), 0
        streams.send_last = last

    def receive(self, into: np.ndarray, *, heed_last: bool = True) -> None:
        """Takes words of the output stream from now on, until TLAST or until one finds no room in `into`, [bytes] uint8."""
        self._receiving, streams = into, self._streams
        streams.receive_data, streams.receive_bytes, streams.received_bytes = into.ctypes.data, len(into), 0
        streams.received_last = streams.overflowed = False
        streams.heed_last, streams.receiving = heed_last, True

    def stop(self) -> None:
        """Neither offers nor takes any more."""
        self._streams.send_bytes = self._streams.sent_bytes = 0
        self._streams.receiving = False

    @property
    def sent_bytes(self) -> int:
        """Of those offered, how many have been taken."""
        return int(self._streams.sent_bytes)

    @property
    def received_bytes(self) -> int:
        """How many bytes have been received since the last `receive`."""
        return int(self._streams.received_bytes)

    @property
    def received_last(self) -> bool:
        """Whether TLAST has ended the last `receive`."""
        return bool(self._streams.received_last)

    @property
    def overflowed(self) -> bool:
        """Whether a word that found no room has ended the last `receive`."""
        return bool(self._streams.overflowed)

    @property
    def cycles(self) -> int:
        """The cycles since the configuration."""
        return int(self._streams.cycles)
