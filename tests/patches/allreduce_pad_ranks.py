"""The pieces of GPT-OSS's graph on real ranks: as the fusion pass is given them and as it leaves them, the same numbers?

    python allreduce_pad_ranks.py graphs.json allreduce_rms_pad_fusion.py [--tp 2] [--ranks 2] [--device cpu|cuda] > results.json

`graphs.json` is what gpt_oss_graph.py printed, the second file is what the patch adds to vLLM. Needs torch, nothing else: run it where
two GPUs are (NCCL) or on any machine (gloo). The patch's own operation runs; AITER's kernel is a reference that keeps its contract: it
sums in fp32, rounds, reads none of the input's pad, writes zeros into the output's. The MoE is a product that fills its pad with NaN.

JSON: per TP size, piece and number of tokens: ``fused`` (launches of AITER's kernel), ``error`` (largest difference of an output, over
its largest value, on any rank).
"""

from __future__ import annotations

import argparse
import builtins
import json
import operator
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

HIDDEN = 2880
TOKENS = (1, 17, 80, 81)  # at two ranks AITER's one-stage kernel takes up to 80


def all_reduce(x: Tensor, _group: str = "") -> Tensor:
    """The sum over the ranks as the collective library makes it."""
    out = x.clone()
    dist.all_reduce(out)
    return out


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """(normed, x + residual), fp32 inside."""
    total = x.float() + residual.float()
    normed = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + epsilon) * weight.float()
    return normed.to(x.dtype), total.to(x.dtype)


def add_rms_norm_pad(x: Tensor, weight: Tensor, epsilon: float, residual: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
    """AITER's fused_add_rmsnorm_pad."""
    normed, total = add_rms_norm(x, residual, weight, epsilon)
    return F.pad(normed, (0, -normed.shape[-1] % multiple)), total


class Fused:
    """AITER's CustomAllreduce, as far as the patch uses it."""

    fully_connected = True

    def __init__(self) -> None:
        self.world_size, self.launches = dist.get_world_size(), 0

    def custom_fused_ar_rms(
        self, x: Tensor, residual: Tensor, weight: Tensor, eps: float, use_1stage: bool, out_hidden_dim: int = 0, gemma_norm: bool = False
    ) -> tuple[Tensor, Tensor]:
        assert use_1stage and not gemma_norm and x.is_contiguous() and residual.is_contiguous()
        n = weight.numel()
        assert x.shape[-1] >= n and residual.shape[-1] == n and out_hidden_dim % 8 == 0
        self.launches += 1
        parts = [torch.empty_like(x) for _ in range(self.world_size)]
        dist.all_gather(parts, x)
        total = torch.stack([part[:, :n].float() for part in parts]).sum(0).to(x.dtype)
        normed, residual_out = add_rms_norm(total, residual, weight, eps)
        out = torch.full((x.shape[0], out_hidden_dim or x.shape[-1]), torch.nan, dtype=x.dtype, device=x.device)
        out[:, :n], out[:, n:] = normed, 0
        return out, residual_out


def patch_operation(source: str, fused: Fused) -> Any:
    """The patch's operation, from its file: vLLM's names come from stand-ins."""
    root = MagicMock(name="vllm", VllmPatternReplacement=object)
    root._aiter_ops.rocm_aiter_ops.get_aiter_allreduce.return_value = SimpleNamespace(aiter_ca=fused)
    root._aiter_ops.rocm_aiter_ops.get_triton_add_rmsnorm_pad_op.return_value = add_rms_norm_pad
    root.distributed.tensor_model_parallel_all_reduce = all_reduce
    root.ir.ops.fused_add_rms_norm = add_rms_norm
    root.utils.math_utils.round_up = lambda x, y: (x + y - 1) // y * y

    def import_(name: str, space: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        if level == 0 and name.split(".", maxsplit=1)[0] != "vllm":
            return builtins.__import__(name, space, local, wanted, level)
        found = root
        for part in name.split(".")[1:] if wanted else ():
            found = getattr(found, part)
        return found

    module = ModuleType("allreduce_rms_pad_fusion")
    vars(module)["__builtins__"] = vars(builtins) | {"__import__": import_}
    vars(module)["torch"] = torch
    operations = torch.ops
    torch.ops = MagicMock()  # the file looks its own operation up, which nobody registers here
    try:
        exec(compile(source, module.__name__, "exec"), vars(module))
    finally:
        torch.ops = operations
    return module._fused_allreduce_rmsnorm_pad_impl


def moe(hidden_states: Tensor, router_logits: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    """(output, input as it is left) of an MoE with AITER's layout: zeros in the pad of its input, anything in that of its output."""
    x, logits = hidden_states, router_logits
    assert torch.equal(x[:, HIDDEN:], torch.zeros_like(x[:, HIDDEN:])), "the pad of the MoE's input is not zero"
    weight = draw([HIDDEN, HIDDEN], "bfloat16", 0, x.device, seed=7)
    out = torch.full_like(x, torch.nan)
    out[:, :HIDDEN] = F.linear(x[:, :HIDDEN] * logits.softmax(-1).amax(-1, keepdim=True), weight)
    return out, x


def draw(sizes: list[int | None], dtype: str, tokens: int, device: Any, seed: int) -> Tensor:
    """An input: norm weights around 1, matrices scaled by their width, positions below the length of the RoPE table."""
    kind, shape = getattr(torch, dtype), [tokens if size is None else size for size in sizes]
    random = torch.Generator().manual_seed(1000 * dist.get_rank() + seed)
    if not kind.is_floating_point:
        return torch.randint(4096, shape, generator=random).to(device)
    values = torch.randn(shape, generator=random)
    if sizes == [HIDDEN]:
        values = 1 + values / 10
    elif None not in sizes and len(shape) == 2:
        values /= shape[1] ** 0.5
    return values.to(device, kind)


def run(nodes: list[dict[str, Any]], calls: dict[str, Any], tokens: int, device: Any) -> list[Tensor]:
    """The outputs of a piece."""
    found: dict[str, Any] = {}

    def value(arg: Any) -> Any:
        if isinstance(arg, list):
            return [value(one) for one in arg]
        if not isinstance(arg, dict):
            return arg
        if "node" in arg:
            return found[arg["node"]]
        return device if arg["text"] == "cpu" else getattr(torch, arg["text"].removeprefix("torch."))

    for index, node in enumerate(nodes):
        name, target, args = node["name"], node["target"], node["args"]
        if target == "placeholder":
            found[name] = tokens if args == ["tokens"] else draw(*args, tokens, device, seed=index) if args else None
        elif target == "output":
            return [one for one in value(args[0])]
        else:
            space, _, overload = target.partition(".")
            call = calls.get(target) or operator.attrgetter(f"{space}.{overload}")(torch.ops)
            found[name] = call(*value(args), **{key: value(arg) for key, arg in node["kwargs"].items()})
    raise ValueError("a piece without output")


def compare(graphs: list[dict[str, Any]], source: str, device: Any) -> list[dict[str, Any]]:
    """One entry per TP size, kind of piece with an MoE, and number of tokens; the same on every rank."""
    fused = Fused()
    calls = {
        "getitem": operator.getitem,
        "aten.empty.memory_format": torch.ops.aten.zeros.default,  # a buffer that attention fills later
        "vllm.all_reduce.default": all_reduce,
        "auto_functionalized vllm.moe_forward.default": moe,
        "vllm.rocm_unquantized_gemm.default": F.linear,
        "vllm.rocm_aiter_triton_add_rmsnorm_pad.default": add_rms_norm_pad,
        "vllm_ir.fused_add_rms_norm.default": add_rms_norm,
        "vllm.rocm_aiter_fused_allreduce_rmsnorm_pad.default": patch_operation(source, fused),
    }
    results = []
    for graph in graphs:
        pieces = [piece for piece in graph["pieces"] if any("moe" in node["target"] for node in piece["original"])]
        for (index, piece), tokens in [(one, n) for one in enumerate(pieces) for n in TOKENS]:
            expected = run(piece["original"], calls, tokens, device)
            assert fused.launches == 0, "the original graph has nothing fused"
            got = run(piece["after"], calls, tokens, device)
            error = torch.zeros((), device=device)
            for one, other in zip(expected, got, strict=True):
                assert one.isfinite().all() and other.isfinite().all(), "what lies in a pad has leaked"
                if one.any():
                    error = error.maximum((one.float() - other.float()).abs().amax() / one.float().abs().amax())
            dist.all_reduce(error, dist.ReduceOp.MAX)
            results.append({"tp": graph["tp"], "piece": index, "tokens": tokens, "fused": fused.launches, "error": float(error)})
            fused.launches = 0
    return results


def rank(index: int, ranks: int, options: argparse.Namespace, meeting: str) -> None:
    """One process: a rank of the group."""
    torch.set_num_threads(1)
    device = torch.device("cuda", index) if options.device == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", init_method=f"file://{meeting}/store", rank=index, world_size=ranks)
    with torch.no_grad():
        graphs = [graph for graph in json.loads(options.graphs.read_text()) if options.tp in (None, graph["tp"])]
        results = compare(graphs, options.source.read_text(), device)
    if index == 0:
        json.dump({"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "ranks": ranks, "results": results}, sys.stdout)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("graphs", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--tp", type=int)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(rank, (options.ranks, options, meeting), options.ranks)


if __name__ == "__main__":
    main()
