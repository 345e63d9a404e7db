# SPDX-License-Identifier: Apache-2.0
"""The accelerator's registers on a board."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from bnn_hw.contract.registers import DIGEST_WORDS, MAGIC, VERSION, Control, Register, Status
from bnn_hw.errors import BoardError

__all__ = ["CheckedMmio", "Mmio", "Registers", "answering", "flags"]

_COUNTERS = (
    *(Register.IMAGES_IN, Register.IMAGES_OUT, Register.WORDS_IN, Register.WORDS_OUT),
    *(Register.CYCLES, Register.INPUT_STALLS, Register.OUTPUT_STALLS),
)


class Mmio(Protocol):
    """Registers by offset: the part of pynq's MMIO that is the same for all its boards. It accepts plain ints only, no subclass."""

    def read(self, offset: int = 0, /) -> int: ...
    def write(self, offset: int, value: int, /) -> None: ...


@contextmanager
def answering() -> Iterator[None]:
    """Turns the errors of pynq and its devices about a board's refusal into `BoardError`."""
    try:
        yield
    except (RuntimeError, OSError, MemoryError) as error:
        raise BoardError(f"the board refuses: {error}") from error


class CheckedMmio:
    """pynq's MMIO, which raises `BoardError` where the board refuses."""

    def __init__(self, mmio: Mmio) -> None:
        self._mmio = mmio

    def read(self, offset: int = 0, /) -> int:
        """Returns the word at an offset."""
        with answering():
            return self._mmio.read(offset)

    def write(self, offset: int, value: int, /) -> None:
        """Writes the word at an offset."""
        with answering():
            self._mmio.write(offset, value)


class Registers:
    """The registers of `bnn_hw.contract.registers` behind `mmio`."""

    def __init__(self, mmio: Mmio) -> None:
        self._mmio = mmio

    def read(self, register: Register) -> int:
        """Returns a register's value."""
        return self._mmio.read(int(register))

    def write(self, register: Register, value: int) -> None:
        """Writes a register."""
        self._mmio.write(int(register), int(value))

    def write_words(self, offset: int, content: bytes) -> None:
        """Writes words, little-endian, from `offset` on: one at a time, because PYNQ.remote writes only the first of several."""
        for at in range(0, len(content), 4):
            self._mmio.write(offset + at, int.from_bytes(content[at : at + 4], "little"))

    def digest(self, first: Register) -> str:
        """Returns the SHA-256 that begins in register `first`, as 64 hexadecimal digits."""
        words = [self._mmio.read(first + 4 * index) for index in range(DIGEST_WORDS)]
        return b"".join(word.to_bytes(4, "little") for word in words).hex()

    def write_digest(self, first: Register, digest: str) -> None:
        """Writes a SHA-256 into the registers from `first` on."""
        self.write_words(first, bytes.fromhex(digest))

    def check_identity(self, network_sha256: str, plan_sha256: str) -> None:
        """Raises `BoardError` if the accelerator has another version, network or plan."""
        for register, wanted in ((Register.MAGIC, MAGIC), (Register.VERSION, VERSION)):
            found = self.read(register)
            if found != wanted:
                raise BoardError(
                    f"{register.name} must be {wanted:#x}, not {found:#x}: the board carries no accelerator of this bnn_hw; "
                    "make the bitstream again with it"
                )
        for register, wanted_digest in ((Register.DIGEST, network_sha256), (Register.PLAN_DIGEST, plan_sha256)):
            found_digest = self.digest(register)
            if found_digest != wanted_digest:
                what = "network" if register == Register.DIGEST else "plan"
                raise BoardError(
                    f"the accelerator must carry the build's {what}, {wanted_digest}, not {found_digest}: the bitstream is of "
                    "another build; make it again with `bnn_hw bitstream`"
                )

    def counters(self) -> dict[Register, int]:
        """Returns all counters since the last reset, modulo 2**32."""
        return {register: self.read(register) for register in _COUNTERS}

    def status(self) -> Status:
        """Returns STATUS."""
        return Status(self.read(Register.STATUS))

    def reset(self) -> None:
        """Resets the accelerator except its weights. Raises `BoardError` if the registers do not show the reset."""
        self.write(Register.CONTROL, Control.RESET)
        status, images = self.status() & ~Status.RUNTIME_WEIGHTS, self.read(Register.IMAGES_IN)
        if status or images:
            raise BoardError(f"the accelerator must be idle after a reset, but STATUS is {flags(status)} and IMAGES_IN {images:,}")

    def describe(self) -> str:
        """Returns counters and STATUS as text."""
        counted = ", ".join(f"{register.name} {value:,}" for register, value in self.counters().items())
        return f"accelerator: STATUS {flags(self.status())}; {counted}"


def flags(value: Status) -> str:
    """Returns STATUS as text: its value, and the names of its bits."""
    names = [flag.name or "" for flag in Status if value & flag]
    return f"{int(value):#x} ({', '.join(names) or 'nothing'})"
