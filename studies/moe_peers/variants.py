"""The shipped tiled kernels with one or two helpers replaced, each variant a module of its own: what ships is not touched."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

import torch

from tunefork.kernels.arch import SM90
from tunefork.kernels.entry import entry
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig
from tunefork.kernels.moe_a16w4.launch import Workspace, _run, workspace_size
from tunefork.kernels.moe_a16w4.plan import POINTERS, Case, Step, buffers, plan, sort_programs
from tunefork.kernels.moe_a16w4.weights import Weights
from tunefork.kernels.shipped import Shipped

TILED = ("up_tiled_kernel", "down_tiled_kernel")


@dataclass(frozen=True)
class Variant:
    """group: blocks that walk the tiles together, 0 for one block after another as shipped. paired: two chunks of K to an iteration."""

    group: int = 0
    paired: bool = False


SHIPPED = Variant()


def gemm(words: str) -> GemmConfig:
    """A tiled GEMM as the tuning records write it: "wn-r-bm-stages-rest-parts", and "-waves" where it is not 0."""
    wn, r, bm, stages, rest, parts, waves = (*map(int, words.split("-")), 0)[:7]
    return GemmConfig(wn, 1, r, bm, ahead=False, unroll=parts, waves=waves, tiled=True, stages=stages, rest=rest)


def layer(up: str, down: str = "") -> LayerConfig:
    """A sorted layer of two tiled GEMMs, as it would ship."""
    return LayerConfig("sorted", gemm(up), gemm(down or up), partial="bf16", overlap=True)


# Of TP1 from 8,192 tokens on; first what ships. docs/kernels-moe.md says why each is here.
CANDIDATES: dict[str, tuple[LayerConfig, Variant]] = {
    "shipped": (layer("4-2-64-3-32-2"), SHIPPED),
    "128 columns": (layer("4-2-128-2-64-2"), SHIPPED),
    "tiles of 4 blocks together": (layer("4-2-64-3-32-2-3", "4-2-64-3-32-2"), Variant(group=4)),  # left alone, `up` takes 197 registers: 2 programs an SM
    "128 columns, of 4 blocks": (layer("4-2-128-2-64-2"), Variant(group=4)),
    "128 columns, of 8 blocks": (layer("4-2-128-2-64-2"), Variant(group=8)),
    "chunks in pairs": (layer("4-2-64-2-32-2"), Variant(paired=True)),
    "256 rows, 128 columns, of 4 blocks": (layer("8-2-128-3-32-2"), Variant(group=4)),
}


@cache
def module(variant: Variant) -> ModuleType:
    """tiled_kernel.py once more, under a name of its own, with the variant's helpers in the place of the shipped ones."""
    from studies.moe_peers import candidates
    from tunefork.kernels.moe_a16w4 import tiled_kernel

    spec = importlib.util.spec_from_file_location(f"studies.moe_peers.tiled_{variant.group}_{int(variant.paired)}", tiled_kernel.__file__)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    vars(found).update({"spread": candidates.grouped} if variant.group else {})
    vars(found).update({"contract_tiled": candidates.contract_paired} if variant.paired else {})
    return found


def _varied(step: Step, variant: Variant) -> Step:
    if step.kernel.__name__ not in TILED or variant == SHIPPED:
        return step
    given: Mapping[str, Any] = step.constants
    tiles = -(-(given["N"] // 16) // (given["WN"] * given["R"]))
    order = {"XCDS": (variant.group, tiles)} if variant.group else {}
    return replace(step, kernel=getattr(module(variant), step.kernel.__name__), constants={**given, **order})


def steps(case: Case, config: LayerConfig, variant: Variant) -> list[Step]:
    """A layer's launches, the tiled ones in this variant. ``config`` must be legal for the case."""
    return [_varied(step, variant) for step in plan(case, config)]


def compilations(case: Case, config: LayerConfig, variant: Variant) -> Iterator[Shipped]:
    """The tiled launches as something to compile for sm_90."""
    for step in steps(case, config, variant):
        if step.kernel.__name__ in TILED:
            yield entry(step, "moe_peers", str(variant), f"M{case.tokens}", POINTERS | {"part": "*bf16"}, SM90.name, None)


def call(case: Case, config: LayerConfig, variant: Variant, weights: Weights, x: torch.Tensor, logits: torch.Tensor, memory: torch.Tensor,
         out: torch.Tensor) -> torch.Tensor:  # fmt: skip
    """One layer. memory: uint8, at least `size(case, config)` bytes."""
    env: dict[str, Any] = {
        **Workspace(memory).views(buffers(case, config)), **weights.arguments, "x": x, "x_stride": x.stride(0), "logits": logits,
        "logits_stride": logits.stride(0), "out": out, "out_stride": out.stride(0), "M": case.tokens, "alpha": 1.702, "limit": 7.0,
        "programs": sort_programs(case.arch, case.tokens),
    }  # fmt: skip
    for step in steps(case, config, variant):
        _run(step, env)
    return out


def size(case: Case, config: LayerConfig) -> int:
    """Bytes of a layer's workspace."""
    return workspace_size(buffers(case, config))
