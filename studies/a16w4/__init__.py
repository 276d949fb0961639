"""AITER's Triton A16W4 MoE GEMM, both sides of our patches: compiled for gfx950, its machine code executed on the CPU, and compared.

    python -m studies.a16w4 [--checkout work/aiter] [--json]      the table of docs/series-aiter.md

Verification of what the code does and what the machine code shows; no statement about time.
"""
