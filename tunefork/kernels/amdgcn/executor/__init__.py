"""Executes gfx950 machine code on the CPU, many waves at a time: one wave instruction is one numpy step over (waves, 64) lanes.

It is instruction-level functional verification: values, control flow, missing waits, missing barriers, bounds. It has not been
validated on an MI355X, and it says nothing about time. What it simplifies is listed in docs/kernels-gfx950.md.
"""
