# SPDX-License-Identifier: Apache-2.0
"""The names in a build's Verilog, so that any two builds can stand in one design.

```
mnist_tiny_0123abcd                              the top: the network's name, and a digest of the hardware itself
mnist_tiny_0123abcd.core.accelerator.layer_fc1   a module of the hierarchy under it, by its path
mnist_tiny_0123abcd__weights_fc1                 a module that layers hold instances of
```

A top has no `__`, so no module of one build has the name of a module of another. No layer has the name of a signal, a port or a
keyword either, whatever it is called.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from bnn_hw.artefacts.digests import NAME_DIGITS

__all__ = ["TOP", "layer_instance", "layer_of", "module_beside", "top_name"]

TOP: Final = "BNN_HW_TOP"  # stands for the top's name in Verilog that has none yet; names of layers have no capitals
_OF_LAYER: Final = re.compile(r"(?:layer|_input\d+|_window|_pixels)_(\w+)")


def top_name(network_name: str, part: str, verilog: Sequence[str]) -> str:
    """Returns the name of a build's top module, an identifier in Verilog, SystemVerilog and VHDL.

    `part`: the FPGA. `verilog`: the build's files with `TOP` for the name.
    """
    digest = sha256(b"".join(sha256(text.encode()).digest() for text in (part, *verilog))).hexdigest()
    return f"{re.sub('[-_]+', '_', network_name).rstrip('_')}_{digest[:NAME_DIGITS]}"


def module_beside(name: str) -> str:
    """Returns the name, with `TOP`, of a module that is emitted beside those of the hierarchy."""
    return f"{TOP}__{name}"


def layer_instance(layer: str, before: str = "") -> str:
    """Returns the name of a layer's engine in the accelerator, or of what stands `before` it: input0, window or pixels."""
    return f"_{before}_{layer}" if before else f"layer_{layer}"


def layer_of(instance: str) -> str | None:
    """Returns the layer to which a part of the accelerator belongs by its name as `layer_instance` gives it, or None."""
    found = _OF_LAYER.fullmatch(instance)
    return found[1] if found else None
