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
from bnn_hw.design.units import Dot
from bnn_hw.fpga.family import Family

__all__ = ["ACCELERATOR", "TOP", "UART_ACCELERATOR", "dot_module", "layer_instance", "module_beside", "top_name"]

TOP: Final = "BNN_HW_TOP"  # stands for the top's name in Verilog that has none yet; names of layers have no capitals
ACCELERATOR: Final = "core.accelerator"  # its path in the AXI shell,
UART_ACCELERATOR: Final = "shell.accelerator"  # and in the UART shell


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


def dot_module(dot: Dot, family: Family, levels: int) -> str:
    """Returns the name, with `TOP`, of the module of a kind of dot product."""
    match dot:
        case Dot(dtype="bit", pixel_lanes=None):
            kind = f"xnor_popcount_{dot.lanes}"
        case Dot(dtype="bit"):
            kind = f"zero_padded_xnor_popcount_{dot.lanes}_{dot.pixel_lanes}"
        case Dot():
            kind = f"signed_sum_{dot.dtype[0]}{dot.element_bits}_{dot.lanes}"
    return module_beside(f"{kind}_{family.name}_{levels}")
