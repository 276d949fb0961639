"""The MoE layer's GEMMs with a ring (ring_kernel.py, Gluon): what their machine code is, whether they are right on an H200, and where they are faster."""
