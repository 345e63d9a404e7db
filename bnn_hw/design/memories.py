# SPDX-License-Identifier: Apache-2.0
"""What the memories of the engines hold: weights, thresholds, scales and offsets, and the channels that poolings AND.

With run-time weights each is a RAM of two banks, which is written 32 bits at a time: a lane. Their sizes follow from the
shape of the layer alone, not from what it was trained to.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bnn_hw.design.units import Argmax, Compare, Convert, MatVec, Pool, Rescale, Slide, Unit, signed_bits
from bnn_hw.fpga.family import Family
from bnn_hw.fpga.memory_layout import ram_in_luts
from bnn_hw.network.packing import pack_bits

__all__ = [
    "LANE_BITS",
    "EngineMemory",
    "constant_bits",
    "contents",
    "engine_memories",
    "grouped",
    "lane_words",
    "row_integers",
    "scaling_groups",
    "threshold_groups",
    "weight_rows",
]

LANE_BITS: Final = 32


@dataclass(frozen=True)
class EngineMemory:
    """A memory of two banks: each `depth` rows of `width` bits, in look-up tables or in block RAM."""

    layer: str
    what: str  # weights, lut_weights, starts, scales or and_channels
    depth: int
    width: int
    in_luts: bool

    @property
    def lanes(self) -> int:
        """The number of lanes of a row."""
        return -(-self.width // LANE_BITS)

    @property
    def stride(self) -> int:
        """The addresses from a lane to the next: a power of two."""
        return 1 << (self.depth - 1).bit_length()

    def lane_width(self, lane: int) -> int:
        """Returns the bits of a lane; the last lane may have fewer than the others."""
        return min(LANE_BITS, self.width - lane * LANE_BITS)


def engine_memories(unit: Unit, family: Family) -> tuple[EngineMemory, ...]:
    """Returns the memories of a unit with run-time weights."""
    match unit:
        case Pool():
            sizes = {"and_channels": (unit.words, unit.lanes)}
        case MatVec():
            words, width = unit.weight_words, unit.pe * unit.simd
            sizes = {"weights": (words, width - unit.lut_bits), "lut_weights": (words, unit.lut_bits)}
            match unit.finish:
                case Compare():
                    sizes["starts"] = unit.neuron_groups, unit.pe * unit.sum_bits
                case Rescale() as finish:
                    sizes["scales"] = unit.neuron_groups, unit.pe * sum(constant_bits(unit, finish))
        case Convert() | Slide() | Argmax():
            return ()
    fixed = {"weights": False, "lut_weights": True}
    return tuple(
        EngineMemory(unit.layer, what, depth, width, fixed.get(what, ram_in_luts(family, 2 * depth, width)))
        for what, (depth, width) in sizes.items()
        if width
    )


def contents(unit: Unit) -> dict[str, np.ndarray]:
    """Returns what each memory of `engine_memories` holds: [depth, width] bool, bit 0 first."""
    match unit:
        case Pool(and_channels=and_channels, lanes=lanes):
            return {"and_channels": grouped(and_channels, lanes, padding=0).astype(bool)}
        case MatVec():
            rows = weight_rows(unit.weights, unit.pe, unit.simd)
            block_bits = unit.pe * unit.simd - unit.lut_bits
            held = {"weights": rows[:, :block_bits], "lut_weights": rows[:, block_bits:]}
            match unit.finish:
                case Compare() as finish:
                    held["starts"] = _bits(-threshold_groups(unit, finish), unit.sum_bits)
                case Rescale() as finish:
                    fields = zip(scaling_groups(unit, finish), constant_bits(unit, finish), strict=True)
                    held["scales"] = np.concatenate([_bits(values, bits) for values, bits in fields], axis=2)
            return {what: bits.reshape(len(bits), -1) for what, bits in held.items()}
        case Convert() | Slide() | Argmax():
            return {}


def lane_words(rows: np.ndarray) -> np.ndarray:
    """Returns rows of bits as words of 32 bits: [depth, width] bool to [lanes, depth] uint32."""
    depth, width = rows.shape
    padded = np.zeros((depth, -(-width // LANE_BITS) * LANE_BITS), bool)
    padded[:, :width] = rows
    return np.ascontiguousarray(pack_bits(padded).view("<u4").T)


def row_integers(rows: np.ndarray) -> list[int]:
    """Returns rows of bits, [depth, width] bool, as integers, the first bit lowest."""
    return [int.from_bytes(row.tobytes(), "little") for row in pack_bits(rows)]


def weight_rows(weights: np.ndarray, pe: int, simd: int) -> np.ndarray:
    """Returns the weight memory: a row of pe*simd bits for each cycle of the schedule, input words fastest.

    `weights`: [outputs, inputs] bool. Bit ``p*simd + s`` of row ``group*words + word`` is the weight of output
    ``group*pe + p`` and input ``word*simd + s``; padding is 1.
    """
    outputs, inputs = weights.shape
    groups, words = -(-outputs // pe), -(-inputs // simd)
    padded = np.ones((groups * pe, words * simd), bool)
    padded[:outputs, :inputs] = weights
    return padded.reshape(groups, pe, words, simd).swapaxes(1, 2).reshape(-1, pe * simd)


def threshold_groups(unit: MatVec, finish: Compare) -> np.ndarray:
    """Returns the thresholds of what the dot products of a layer add up to: [groups, pe] int64."""
    return grouped(finish.thresholds - _missing(unit), unit.pe, padding=unit.sums.never)


def scaling_groups(unit: MatVec, finish: Rescale) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and offset of what the dot products of a layer add up to: each [groups, pe] int64."""
    scale = finish.scale.astype(np.int64)
    if unit.dot.dtype == "bit":  # matches m stand for the sum 2m - inputs
        scale, offset = 2 * scale, finish.offset - scale * unit.inputs
    else:
        offset = finish.offset + scale * _missing(unit)
    return grouped(scale, unit.pe, padding=0), grouped(offset, unit.pe, padding=0)


def constant_bits(unit: MatVec, finish: Rescale) -> tuple[int, int]:
    """Returns the bits of each scale and each offset of `scaling_groups`, whatever a layer of this shape was trained to."""
    scale = finish.scale_limit
    return signed_bits(2 * scale if unit.dot.dtype == "bit" else scale), signed_bits(finish.limit)


def grouped(values: np.ndarray, pe: int, padding: int) -> np.ndarray:
    """Returns the outputs' values in groups of `pe`, the last one padded: [groups, pe] int64."""
    padded = np.full(-(-len(values) // pe) * pe, padding, np.int64)
    padded[: len(values)] = values
    return padded.reshape(-1, pe)


def _missing(unit: MatVec) -> np.ndarray:
    """Returns what the dot products of each neuron lack: 1 for each weight of -1 on integers, see `SignedSum`."""
    if unit.dot.dtype == "bit":
        return np.zeros(unit.outputs, np.int64)
    return (~unit.weights).sum(axis=1)


def _bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Returns integers in two's complement, modulo 2**bits: [...] int64 to [..., bits] bool, bit 0 first."""
    return (values[..., None] >> np.arange(bits) & 1).astype(bool)
