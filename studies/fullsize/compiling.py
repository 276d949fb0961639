"""Compile the MoE kernel for every size of a step that a server captures or prefills, in several processes, into Triton's cache.

    python -m studies.fullsize.compiling --jobs 16

A server does the same at its first start, one after another. Nothing is timed; weights are random words.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tunefork.kernels.arch import SM90
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from vllm_overrides.capture.rules import Limits, default_sizes

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, INTERMEDIATE, EXPERTS, TOPK = MODEL.hidden, MODEL.intermediate, MODEL.experts, MODEL.topk
PREFILLS = (1025, 1026, 1040, 2048, 2050, 2056, 3072, 3073, 3080, 4096, 4095, 4088)


def sizes() -> list[int]:
    """vLLM's capture sizes for GPT-OSS, all others up to 64, and steps with prefill."""
    return sorted({*default_sizes(Limits()), *range(1, 65), *PREFILLS})


def run(tokens: Iterator[int]) -> None:
    """One layer at each number of tokens, with and without the count of live rows, which is for captured decode steps."""
    import torch

    from tunefork.kernels.moe_a16w4 import Weights, fused_moe
    from tunefork.kernels.mxfp4 import FragmentLayout

    first, second = FragmentLayout(SM90.name, 2 * INTERMEDIATE, HIDDEN, interleaved=True), FragmentLayout(SM90.name, HIDDEN, INTERMEDIATE)

    def tensors(layout: FragmentLayout) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        words = torch.randint(-(1 << 31), 1 << 31, (EXPERTS, layout.strips * layout.strip_words), dtype=torch.int32, device="cuda")
        scales = torch.full((EXPERTS, layout.strips * layout.strip_scales), 121, dtype=torch.uint8, device="cuda")
        return words, scales, torch.zeros(EXPERTS, layout.rows, dtype=torch.bfloat16, device="cuda")

    weights = Weights(*tensors(first), *tensors(second), first, second)
    for count in tokens:
        x = torch.randn(count, HIDDEN, device="cuda").bfloat16()
        logits = torch.randn(count, EXPERTS, device="cuda").bfloat16()
        for live in (None, torch.tensor([count], dtype=torch.int32, device="cuda")) if count <= 64 else (None,):
            fused_moe(x, logits, weights, TOPK, num_live=live)
    torch.cuda.synchronize()


def main() -> None:
    """Share the sizes out, largest last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--job", type=int, help="run one job's share in this process")
    words = parser.parse_args()
    if words.job is not None:
        return run(iter(sizes()[words.job :: words.jobs]))
    command = [sys.executable, "-m", "studies.fullsize.compiling", "--jobs", str(words.jobs), "--job"]
    started = [subprocess.Popen([*command, str(job)], cwd=ROOT) for job in range(words.jobs)]
    sys.exit(max(one.wait() for one in started))


if __name__ == "__main__":
    main()
