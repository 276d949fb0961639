"""Microbenchmarks of the kernels: op x shape x M, against importable peers and the floor measured in the same run."""
