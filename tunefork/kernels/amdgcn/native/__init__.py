"""Kernels of the upstreams' HIP sources, compiled for gfx950 and executed against a reference. It is given their assembly; `develop` makes it."""
