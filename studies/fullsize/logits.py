"""Logits of a model with random weights, prefill and decode steps, under one MoE: to be compared with another's.

    python -m studies.fullsize.logits --model l4 --moe shipped --out shipped.pt
    python -m studies.fullsize.logits --model l4 --moe ours --out ours.pt
    python -m studies.fullsize.logits --model l4 --moe step --out step.pt                ours and decode_step
    python -m studies.fullsize.logits --model l4 --moe reference --out reference.pt      every MoE layer in float32 torch
    python -m studies.fullsize.logits --compare reference.pt shipped.pt ours.pt
    python -m studies.fullsize.logits --model l4 --moe ours --graphs --out graphs.pt     compiled, decode steps in CUDA graphs
    python -m studies.fullsize.logits --replayed shipped-graphs.pt ours-graphs.pt

Three prompts, and the tokens that follow them are prescribed, so that every run computes the same steps. Each implementation is judged by its
distance from the reference. Top-k routing is a step function: where two experts' logits lie closer than bf16 resolves, two right
implementations choose differently, and that row's logits differ by tens of percent. So the router's choices are recorded (eager mode), rows are
compared where every layer chose as the reference did, and the others are counted, for both implementations. With --graphs nothing can be
recorded; there the decode steps are 3 rows in a graph of 4.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from studies.fullsize.engine import OVERRIDES, prompts, started

PROMPTS, LENGTH, STEPS, TOPK = 3, 96, 16, 4
MARGIN = 1.1  # how much further from the reference ours may lie than vLLM's own, as a ratio
BF16 = 0.03  # relative norm between two bf16 implementations of four layers, above which something is wrong


def collect(model: Path, moe: str, graphs: bool, pages: str = "auto") -> dict[str, Any]:
    """logits: [steps, PROMPTS, vocabulary] float32, the prefill's last position, then each decode step. chosen: [steps, layers, PROMPTS, TOPK]."""
    if moe == "reference":
        in_float32()
    routed: list[Any] = []
    if moe == "step" and not graphs:
        listen(routed)
    llm = started(model, "ours" if moe == "reference" else moe, max_model_len=1024, max_num_seqs=8, enforce_eager=not graphs, kv_cache_dtype=pages,
                  cudagraph_capture_sizes=[4, 8] if graphs else None)  # fmt: skip
    import torch
    from vllm import SamplingParams  # once the variables are set

    logits: list[Any] = []
    chosen: list[Any] = []

    def record(module: Any) -> None:
        whole = module.compute_logits

        def compute_logits(*words: Any, **named: Any) -> Any:
            found = whole(*words, **named)
            logits.append(found[:PROMPTS].float().cpu())
            chosen.append([one[last_rows(one.shape[0])].topk(TOPK).indices.sort().values.cpu() for one in routed])
            routed.clear()
            return found

        module.compute_logits = compute_logits
        if not graphs:
            for name, layer in module.named_modules():
                if name.endswith(".router"):
                    layer.register_forward_hook(lambda _layer, _words, result: routed.append(result.float()))

    routed.clear()  # what vLLM ran to size its memory
    llm.apply_model(record)
    forced = [SamplingParams(temperature=0, max_tokens=STEPS, ignore_eos=True, allowed_token_ids=[1000 + index]) for index in range(PROMPTS)]
    llm.generate(prompts(PROMPTS, LENGTH), forced, use_tqdm=False)
    assert [len(one) for one in logits[-STEPS:]] == [PROMPTS] * STEPS, "the prompts were not prefilled in one step"
    picked = None if graphs else torch.stack([torch.stack(one) for one in chosen[-STEPS:]])
    return {"logits": torch.stack(logits[-STEPS:]), "chosen": picked}


def last_rows(tokens: int) -> list[int]:
    """The row of each prompt's last token in a step."""
    each = LENGTH if tokens >= LENGTH * PROMPTS else 1
    return [each * (index + 1) - 1 for index in range(min(PROMPTS, tokens // each))]


def listen(routed: list[Any]) -> None:
    """Note the router's logits of the block's operator, which calls no router: torch's, of the operator's own inputs, rounded to bf16 as both do."""
    import torch

    from vllm_overrides.decode_step import operator

    whole = operator.add_norm_moe_op

    def noted(x: Any, residual: Any, norm: Any, eps: float, router: Any, bias: Any, *rest: Any) -> Any:
        both = (x.float() + residual.float()).bfloat16().float()
        normed = (both * torch.rsqrt(both.square().mean(-1, keepdim=True) + eps) * norm.float()).bfloat16()
        routed.append(torch.nn.functional.linear(normed, router, bias).float())
        return whole(x, residual, norm, eps, router, bias, *rest)

    noted.__annotations__ = whole.__annotations__
    setattr(operator, whole.__name__, noted)  # before the blocks register it


def in_float32() -> None:
    """Our method with the kernel's place taken by the float32 reference on the plain weights."""
    from tunefork.base.upstream_facts.vllm import MOE_PARAMETERS
    from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
    from vllm_overrides.moe_a16w4.method import A16w4MoEMethod

    def keep(self: Any, layer: Any) -> None:
        self.plain = tuple(getattr(layer, name).data for name in MOE_PARAMETERS)

    def apply(self: Any, layer: Any, x: Any, router_logits: Any, input_ids: Any = None) -> Any:
        return fused_moe_reference(x, router_logits, self.plain, self.topk).to(x.dtype)

    for name, replacement in (("process_weights_after_loading", keep), ("apply_monolithic", apply)):
        setattr(A16w4MoEMethod, name, replacement)


def distances(found: Any, want: Any) -> Any:
    """[steps, PROMPTS] relative norms."""
    return (found - want).norm(dim=-1) / want.norm(dim=-1)


def compare(reference: Path, shipped: Path, ours: Path) -> int:
    """Print the distances of rows that routed alike; 1 where ours lies further from the reference than allowed, or anything is not finite."""
    import torch

    want, theirs, mine = (torch.load(path) for path in (reference, shipped, ours))
    failed = not all(bool(torch.isfinite(one["logits"]).all()) for one in (want, theirs, mine))
    rows = want["logits"].shape[0] * PROMPTS
    alike = [(one["chosen"] == want["chosen"]).all(-1).all(1) for one in (theirs, mine)]
    both = alike[0] & alike[1]
    apart = [distances(one["logits"], want["logits"])[both] for one in (theirs, mine)]
    rms = [float(one.square().mean().sqrt()) for one in apart]
    print(f"rows: {rows}; routed as the float32 reference in every layer: vLLM's own {int(alike[0].sum())}, ours {int(alike[1].sum())}, both {int(both.sum())}")
    for name, one, square in zip(("vLLM's own", "ours"), apart, rms, strict=True):
        print(f"{name:11} from the reference, where both routed as it: rms {square:.5f}, largest {float(one.max()):.5f}")
    between = distances(mine["logits"], theirs["logits"])[(mine["chosen"] == theirs["chosen"]).all(-1).all(1)]
    print(f"ours from vLLM's own, where they routed alike ({len(between)} rows): rms {float(between.square().mean().sqrt()):.5f}, "
          f"largest {float(between.max()):.5f}")
    failed |= rms[1] > MARGIN * rms[0] or int(both.sum()) < rows // 2
    print("FAILED" if failed else f"passed: ours lies at most {MARGIN} times as far from the reference as vLLM's own")
    return int(failed)


def replayed(shipped: Path, ours: Path) -> int:
    """Compiled, in graphs: print the rows' distances; 1 where the median, which no odd choice of experts moves, is beyond bf16."""
    import torch

    theirs, mine = (torch.load(path)["logits"] for path in (shipped, ours))
    apart = distances(mine, theirs)
    print(f"prefill: median {float(apart[0].median()):.5f}; decode steps in graphs: median {float(apart[1:].median()):.5f}, "
          f"{int((apart[1:] > BF16).sum())} of {apart[1:].numel()} rows beyond {BF16} (another choice of experts somewhere)")
    failed = not bool(torch.isfinite(mine).all()) or float(apart[1:].median()) > BF16
    print("FAILED" if failed else "passed")
    return int(failed)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--moe", choices=[*OVERRIDES, "reference"])
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--pages", default="auto", help="the KV cache's dtype, as of vLLM's --kv-cache-dtype")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--compare", type=Path, nargs=3, metavar=("REFERENCE", "SHIPPED", "OURS"))
    parser.add_argument("--replayed", type=Path, nargs=2, metavar=("SHIPPED", "OURS"))
    words = parser.parse_args()
    if words.compare:
        sys.exit(compare(*words.compare))
    if words.replayed:
        sys.exit(replayed(*words.replayed))
    found = collect(words.model, words.moe, words.graphs, words.pages)
    import torch

    torch.save(found, words.out)


if __name__ == "__main__":
    main()
