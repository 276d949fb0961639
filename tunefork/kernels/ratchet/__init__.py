"""What each Triton makes of our kernels, counted on the CPU and kept per version: the next release shows its damage before a GPU does."""
