# SPDX-License-Identifier: Apache-2.0
"""What the memories of the engines hold: weights, thresholds, scales and offsets, and the channels that poolings AND.

With run-time weights each is a RAM of two banks, which is written 32 bits at a time: a lane. Their sizes follow from the
shape of the layer alone, not from what it was trained to.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from bnn_hw.design.stage import Stage, signed_bits
from bnn_hw.fpga.family import Family
from bnn_hw.fpga.memory_layout import ram_in_luts
from bnn_hw.network.network import Conv, Dense, DenseRelu, MaxPool, Scores, layer_sums, scaled_limits, weight_matrix
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
        """Returns the bits of a lane, of which the last may have less than the others."""
        return min(LANE_BITS, self.width - lane * LANE_BITS)


def engine_memories(stage: Stage, family: Family) -> tuple[EngineMemory, ...]:
    """Returns the memories of a layer's engine with run-time weights."""
    layer, pe = stage.step.layer, stage.pe
    if isinstance(layer, MaxPool):
        sizes = {"and_channels": (-(-len(layer.and_channels) // pe), pe)}
    else:
        groups = -(-len(layer.weights) // pe)
        sizes = {"weights": (stage.words, pe * stage.simd - stage.lut_bits), "lut_weights": (stage.words, stage.lut_bits)}
        if isinstance(layer, DenseRelu | Scores):
            sizes["scales"] = groups, pe * sum(constant_bits(stage))
        else:
            sizes["starts"] = groups, pe * stage.sum_bits
    fixed = {"weights": False, "lut_weights": True}
    return tuple(
        EngineMemory(layer.name, what, depth, width, fixed.get(what, ram_in_luts(family, 2 * depth, width)))
        for what, (depth, width) in sizes.items()
        if width
    )


def contents(stage: Stage) -> dict[str, np.ndarray]:
    """Returns what each memory of `engine_memories` holds: [depth, width] bool, bit 0 first."""
    layer, pe = stage.step.layer, stage.pe
    if isinstance(layer, MaxPool):
        return {"and_channels": grouped(layer.and_channels, pe, padding=0).astype(bool)}
    rows = weight_rows(weight_matrix(layer), pe, stage.simd)
    block_bits = pe * stage.simd - stage.lut_bits
    held = {"weights": rows[:, :block_bits], "lut_weights": rows[:, block_bits:]}
    if isinstance(layer, DenseRelu | Scores):
        fields = zip(scaling_groups(stage), constant_bits(stage), strict=True)
        held["scales"] = np.concatenate([_bits(values, bits) for values, bits in fields], axis=2)
    else:
        held["starts"] = _bits(-threshold_groups(stage), stage.sum_bits)
    return {what: bits.reshape(len(bits), -1) for what, bits in held.items()}


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
    """Returns the weight memory: a row of pe*simd bits for each cycle of the schedule, input folds fastest.

    `weights`: [outputs, inputs] bool. Bit ``p*simd + s`` of row ``nf*sf_count + sf`` is the weight of output
    ``nf*pe + p`` and input ``sf*simd + s``; what pads is 1.
    """
    outputs, inputs = weights.shape
    neuron_folds, synapse_folds = -(-outputs // pe), -(-inputs // simd)
    padded = np.ones((neuron_folds * pe, synapse_folds * simd), bool)
    padded[:outputs, :inputs] = weights
    return padded.reshape(neuron_folds, pe, synapse_folds, simd).swapaxes(1, 2).reshape(-1, pe * simd)


def threshold_groups(stage: Stage) -> np.ndarray:
    """Returns the thresholds of what the dot products of a layer add up to: [groups, pe] int64."""
    layer = stage.step.layer
    assert isinstance(layer, Dense | Conv)
    return grouped(layer.thresholds - _missing(stage), stage.pe, padding=layer_sums(layer, stage.step.input).never)


def scaling_groups(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and offset of what the dot products of a layer add up to: each [groups, pe] int64."""
    layer = stage.step.layer
    assert isinstance(layer, DenseRelu | Scores)
    scale = layer.scale.astype(np.int64)
    if stage.step.input.dtype == "bit":  # matches m stand for the sum 2m - inputs
        scale, offset = 2 * scale, layer.offset - scale * layer.weights.shape[1]
    else:
        offset = layer.offset + scale * _missing(stage)
    return grouped(scale, stage.pe, padding=0), grouped(offset, stage.pe, padding=0)


def constant_bits(stage: Stage) -> tuple[int, int]:
    """Returns the bits of each scale and each offset of `scaling_groups`, whatever a layer of this shape was trained to."""
    layer, signal = stage.step.layer, stage.step.input
    assert isinstance(layer, DenseRelu | Scores)
    scale, scaled = scaled_limits(layer, signal)
    return signed_bits(2 * scale if signal.dtype == "bit" else scale), signed_bits(scaled)


def grouped(values: np.ndarray, pe: int, padding: int) -> np.ndarray:
    """Returns the outputs' values in groups of `pe`, the last one padded: [groups, pe] int64."""
    padded = np.full(-(-len(values) // pe) * pe, padding, np.int64)
    padded[: len(values)] = values
    return padded.reshape(-1, pe)


def _missing(stage: Stage) -> np.ndarray:
    """Returns what the dot products of each neuron lack: 1 for each weight of -1 on integers, see `SignedSum`."""
    layer = stage.step.layer
    assert not isinstance(layer, MaxPool)
    if stage.step.input.dtype == "bit":
        return np.zeros(len(layer.weights), np.int64)
    return (~weight_matrix(layer)).sum(axis=1)


def _bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Returns integers in two's complement, modulo 2**bits: [...] int64 to [..., bits] bool, bit 0 first."""
    return (values[..., None] >> np.arange(bits) & 1).astype(bool)
