# SPDX-License-Identifier: Apache-2.0
"""Synthesis of a build: what it takes of its FPGA, layer by layer, and for open tool chains its speed and bitstream."""

from bnn_hw.synth.synthesis import LayerReport, Synthesis, check_synthesis, description, synthesize

__all__ = ["LayerReport", "Synthesis", "check_synthesis", "description", "synthesize"]
