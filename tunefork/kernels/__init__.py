"""Own Triton kernels for GPT-OSS on gfx950, and what proves them without one."""
