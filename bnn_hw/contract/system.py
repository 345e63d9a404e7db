# SPDX-License-Identifier: Apache-2.0
"""The block design around the accelerator, as Vivado builds it, the simulated board serves it and the driver finds it.

```
 processing system ──AXI──▶ registers of accelerator, DMA
         ▲                          ▲
         └──AXI── DMA ──s_axis──▶ accelerator ──m_axis──▶ DMA
```
"""

from dataclasses import dataclass
from typing import Final

from bnn_hw.fpga.boards import Board, needed_processor

__all__ = [
    "ACCELERATOR",
    "DMA",
    "DMA_LENGTH_BITS",
    "DMA_VLNV",
    "INTERRUPTS",
    "Segment",
    "System",
    "accelerator_vlnv",
    "block_design",
]

ACCELERATOR: Final = "accelerator"  # instances in the block design
DMA: Final = "dma"
INTERRUPTS: Final = "interrupts"  # the controller of the DMA's interrupts
DMA_VLNV: Final = "xilinx.com:ip:axi_dma:7.1"  # vendor:library:name:version
DMA_LENGTH_BITS: Final = 26  # of the DMA's length register: the most that it has (AMD PG021)

_LEAST_RANGE: Final = 1 << 16  # of addresses that Vivado gives a slave here
_DMA_OFFSET: Final = 1 << 27


@dataclass(frozen=True)
class Segment:
    """The addresses of a slave."""

    base: int
    size: int

    def __contains__(self, address: int) -> bool:
        return self.base <= address < self.base + self.size


@dataclass(frozen=True)
class System:
    """Where the processor sees the registers of accelerator, DMA and interrupt controller, and where the DMA sees memory."""

    accelerator: Segment
    dma: Segment
    memory: Segment
    interrupts: Segment


def accelerator_vlnv(top: str) -> str:
    """Returns what Vivado, FuseSoC and PYNQ call the accelerator of a build as an IP: each build's is one of its own."""
    return f"bnn_hw:ip:{top}:1.0"


def block_design(board: Board, address_bits: int) -> System:
    """Returns the block design of a board for an accelerator with `address_bits` of addresses on AXI-Lite.

    Raises `ArtefactError` for a board without a processor.
    """
    processor = needed_processor(board, ", so no block design; `bnn_hw synth` makes its bitstream")
    base = processor.registers_base
    return System(
        Segment(base, max(_LEAST_RANGE, 1 << address_bits)),
        Segment(base + _DMA_OFFSET, _LEAST_RANGE),
        Segment(0, processor.ddr_bytes),
        Segment(base + _DMA_OFFSET + _LEAST_RANGE, _LEAST_RANGE),
    )
