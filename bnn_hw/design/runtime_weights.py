# SPDX-License-Identifier: Apache-2.0
"""Run-time weights: the memories of an accelerator as its registers' bus sees them, and what they hold for a network.

Behind the registers lies a window of 32-bit words, through which the bank is written that is not in use. A memory has a run
of addresses for each lane of its rows, and there an address for each row; where the rows are no power of two, zeros follow.
The memories with the most rows come first, so that every run begins at a multiple of its length.
"""

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from bnn_hw.contract.registers import ADDRESS_BITS
from bnn_hw.design.lower import Design, lower
from bnn_hw.design.memories import EngineMemory, contents, engine_memories, lane_words
from bnn_hw.design.plan import Plan, weight_layers
from bnn_hw.errors import ArtefactError
from bnn_hw.network.layers import Conv, DenseRelu, Layer, MaxPool
from bnn_hw.network.network import Network

__all__ = ["WeightsWindow", "check_same_shape", "memory_words", "weights_window"]


@dataclass(frozen=True)
class WeightsWindow:
    """The window of an accelerator's weights: its memories, and of each the address of its first word, in words."""

    memories: tuple[EngineMemory, ...]

    @property
    def addresses(self) -> tuple[int, ...]:
        """The address of each memory, and last the first one behind them all."""
        return tuple(accumulate((memory.lanes * memory.stride for memory in self.memories), initial=0))

    @property
    def words(self) -> int:
        """The number of words."""
        return self.addresses[-1]

    @property
    def offset(self) -> int:
        """The byte address of the window: a power of two, past the registers, and no less than the window's length."""
        return max(1 << ADDRESS_BITS, 4 << (self.words - 1).bit_length())

    @property
    def word_bits(self) -> int:
        """The address bits of a word within the window."""
        return self.offset.bit_length() - 3

    @property
    def address_bits(self) -> int:
        """The address bits of registers and window together, in bytes."""
        return self.offset.bit_length()


def weights_window(design: Design) -> WeightsWindow:
    """Returns the window of an accelerator with run-time weights; any network of the same shape has the same."""
    assert design.plan.runtime_weights
    memories = [memory for unit in design.units for memory in engine_memories(unit, design.plan.family)]
    return WeightsWindow(tuple(sorted(memories, key=lambda memory: -memory.stride)))


def memory_words(network: Network, plan: Plan) -> np.ndarray:
    """Returns what the window must hold for a network, in order of addresses: [words] uint32, little-endian.

    `plan`: of the build, whose network has the same shape (`check_same_shape`); names of layers do not matter.
    """
    layers = (replace(planned, name=layer.name) for planned, layer in zip(plan.layers, weight_layers(network), strict=True))
    design = lower(network, replace(plan, layers=tuple(layers)))
    window = weights_window(design)
    held = {(unit.layer, what): lane_words(rows) for unit in design.engines for what, rows in contents(unit).items()}
    words = np.zeros(window.words, "<u4")
    for memory, address in zip(window.memories, window.addresses, strict=False):
        runs = words[address : address + memory.lanes * memory.stride].reshape(memory.lanes, memory.stride)
        runs[:, : memory.depth] = held[memory.layer, memory.what]
    return words


def check_same_shape(built: Network, other: Network) -> None:
    """Raises `ArtefactError` naming the first layer and field in which `other` does not fit the hardware of `built`.

    Names of layers do not matter, nor does `pixel_threshold`, which is for the host to apply.
    """
    for field in ("dtype", "shape"):
        _check_equal(f"input.{field}", getattr(built.input, field), getattr(other.input, field))
    _check_equal("the number of layers", len(built.layers), len(other.layers))
    for one, two in zip(built.layers, other.layers, strict=True):
        _check_equal(f"layer {one.name}: type", type(one).__name__, type(two).__name__)
        shape = _shape(two)
        for field, value in _shape(one).items():
            _check_equal(f"layer {one.name}: {field}", value, shape[field])


def _shape(layer: Layer) -> dict[str, object]:
    """Returns the fields of a layer that the hardware is made for."""
    match layer:
        case MaxPool(size=size, stride=stride):
            return {"channels": len(layer.and_channels), "size": size, "stride": stride}
        case Conv(stride=stride, padding=padding, padding_value=value):
            return {"weights' shape": layer.weights.shape, "stride": stride, "padding": padding, "padding_value": value}
        case DenseRelu(shift=shift):
            return {"weights' shape": layer.weights.shape, "shift": shift}
        case _:
            return {"weights' shape": layer.weights.shape}


def _check_equal(what: str, built: object, other: object) -> None:
    if built != other:
        raise ArtefactError(
            f"{what} must be {built}, as the hardware has it, not {other}; build this network with `bnn_hw build --runtime-weights`"
        )
