"""One call of the layer between cudaProfilerStart and Stop, for a profiler that reads hardware counters. L2 flushed, one launch at a time:

    ncu --profile-from-start off --cache-control all --clock-control none --csv --log-file out.csv \\
        --metrics gpu__time_duration.sum,dram__bytes_read.sum,smsp__issue_active.avg.pct_of_peak_sustained_active \\
        python -m tunefork.bench.kernels.one_call --tp 8 --tokens 64

Prints the experts that were hit and their unpadded bytes, which the sum of dram__bytes_read over both GEMMs is to be compared with.
"""

from __future__ import annotations

import argparse

import torch

from tunefork.base.errors import MissingTool
from tunefork.bench.kernels import cases
from tunefork.kernels.moe_a16w4 import fused_moe, make_workspace, prepare_weights


def main(argv: list[str] | None = None) -> None:
    """Compile and warm up outside the profiled range, then call once inside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tp", type=int, default=8, help="tensor-parallel size")
    parser.add_argument("--tokens", type=int, default=8, help="M")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        raise MissingTool("no GPU: there is nothing to profile", "run it on a machine with one")
    problem = cases.MoeProblem(options.tp, options.tokens)
    weights = prepare_weights(*cases.random_plain(problem.tp, "cuda"))
    ((x, logits),) = cases.inputs(problem, "cuda", 1)
    space, out = make_workspace(weights, problem.tokens), torch.empty_like(x)
    fused_moe(x, logits, weights, out=out, workspace=space)
    torch.cuda.synchronize()
    hit = cases.hit_experts(logits)
    print(f"tp {problem.tp} M {problem.tokens}: {hit} experts, {cases.hit_bytes(problem, hit)} bytes of weights", flush=True)
    torch.cuda.cudart().cudaProfilerStart()
    fused_moe(x, logits, weights, out=out, workspace=space)
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()


if __name__ == "__main__":
    main()
