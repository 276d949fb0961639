"""`develop --target gfx950 --compile-only`: the native sources of the applied trees, compiled for gfx950 without a GPU and without a ROCm torch."""
