"""Which tests one worker runs, where several do (`-n`): a file, whose tests share fixtures, or all of those that must be alone."""

from __future__ import annotations

# No two of these at once: they drive the installed vLLM or the GPU, or watch this machine's clock, ports and processes.
ALONE = (
    "e2e/", "bench/ab/", "bench/machine/", "bench/run/", "bench/server/", "bench/trace/test_live.py", "kernels/test_moe_a16w4_gpu.py",
    "patches/test_allreduce_norm_pad.py", "patches/test_compile_sizes.py", "patches/test_mxfp4_backend_by_name.py", "studies/test_fullsize.py",
    "studies/test_speed.py", "vllm_overrides/test_moe_real_vllm.py", "vllm_overrides/test_real_vllm.py",
)  # fmt: skip


def group(nodeid: str) -> str:
    """The group of a test: "alone", or its file below tests/."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return "alone" if file.startswith(ALONE) else file
