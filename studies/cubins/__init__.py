"""Kernels of our MoE layer, compiled on the CPU by any Triton, timed on a GPU that has another one: no wheel travels, only machine code."""
