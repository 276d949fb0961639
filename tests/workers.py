"""Which tests one worker runs, where several do (`-n`): a file, whose tests share fixtures, or one of these groups."""

from __future__ import annotations

VLLM = "the installed vLLM, or the GPU"
# Of a group, no two tests run at once. The last file of the first compares times: by then the other workers have little left to do.
GROUPS = {
    VLLM: (
        "kernels/test_moe_a16w4_gpu.py", "kernels/test_ring_gpu.py", "patches/test_allreduce_norm_pad.py", "patches/test_compile_sizes.py", "patches/test_mxfp4_backend_by_name.py",
        "patches/test_a16w4_live.py", "studies/test_speed.py", "vllm_overrides/test_moe_real_vllm.py", "vllm_overrides/test_real_vllm.py",
        "vllm_overrides/test_decode_step_real_vllm.py", "vllm_overrides/test_compile_cache.py", "e2e/test_bench_profile.py", "e2e/test_bench_run.py", "e2e/test_serve.py", "e2e/test_campaign.py", "e2e/",
    ),
    "every process of our stand-in servers": ("bench/ab/", "bench/campaign/test_runner.py", "bench/server/"),
}  # fmt: skip


def group(nodeid: str) -> str:
    """The group of a test: one of GROUPS, or its file below tests/."""
    file = nodeid.partition("::")[0].removeprefix("tests/")
    return next((name for name, members in GROUPS.items() if file.startswith(members)), file)


def place(nodeid: str) -> int:
    """Where in its group a test stands."""
    name, file = group(nodeid), nodeid.partition("::")[0].removeprefix("tests/")
    return next((at for at, member in enumerate(GROUPS.get(name, ())) if file.startswith(member)), 0)
