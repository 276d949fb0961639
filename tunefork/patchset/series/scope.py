"""Which paths of an upstream a native build reads; a change anywhere else takes effect when the process starts again."""

from __future__ import annotations

from collections.abc import Iterable

NATIVE_PATHS = {
    "vllm": ("csrc", "cmake", "CMakeLists.txt", "rust", "rust-toolchain.toml", "setup.py", "pyproject.toml",
             "tools/build_rust.py", "requirements/rocm.txt"),
    "aiter": ("csrc", "hsa", "3rdparty", "gradlib", "setup.py", "pyproject.toml", "aiter/jit"),
}  # fmt: skip


def native(upstream: str, paths: Iterable[str]) -> list[str]:
    """Those of the paths that a native build of the upstream reads."""
    roots = NATIVE_PATHS.get(upstream, ())
    return [path for path in paths if any(path == root or path.startswith(root + "/") for root in roots)]
