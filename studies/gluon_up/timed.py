"""Whole layers with a ring beside the shipped row, interleaved, in CUDA graphs; and their launches one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from studies.cubins.pack import case_of
from studies.gluon_up.checks import Layer, Problem, Row, distance, inputs
from tunefork.bench.kernels.timing import compare, told
from tunefork.kernels.arch import SM90
from tunefork.kernels.moe_a16w4 import LayerConfig, MoeShape, Weights, fused_moe, pick
from tunefork.kernels.moe_a16w4.launch import _run, bindings
from tunefork.kernels.moe_a16w4.plan import plan, tiles
from tunefork.kernels.mxfp4.layout import SCALE_BIAS, FragmentLayout

ALIKE = 5e-3  # of two layers' results, at most, before their times mean anything
SHIPPED = "shipped"


def stored(shape: MoeShape, device: str) -> Problem:
    """Weights made as they are stored, without their plain form: any word holds e2m1 codes; scales around 2**-8."""
    gen = torch.Generator(device).manual_seed(0)
    made: list[torch.Tensor] = []
    layouts = FragmentLayout(SM90.name, 2 * shape.intermediate, shape.hidden, interleaved=True), FragmentLayout(SM90.name, shape.hidden, shape.intermediate)
    for layout in layouts:
        words, scales = (shape.experts, layout.strips * layout.strip_words), (shape.experts, layout.strips * layout.strip_scales)
        made += [torch.randint(-(2**31), 2**31 - 1, words, dtype=torch.int32, device=device, generator=gen),
                 torch.randint(116 + SCALE_BIAS, 122 + SCALE_BIAS, scales, dtype=torch.uint8, device=device, generator=gen),
                 torch.randn(shape.experts, layout.rows, device=device, generator=gen).bfloat16()]  # fmt: skip
    w13, s13, b13, w2, s2, b2 = made
    return Problem(shape, (), Weights(w13, s13, b13, w2, s2, b2, *layouts))


def layers(one: Problem, tp: int, tokens: int, configs: dict[str, LayerConfig], device: str) -> tuple[dict[str, Layer], list[Row]]:
    """The shipped row's layer and those that give its result, each run once; what the others did instead."""
    x, logits = inputs(one.shape, tokens, device)
    found: dict[str, Layer] = {}
    wrong: list[Row] = []
    for name, config in {SHIPPED: pick(SM90.name, one.shape, tokens), **configs}.items():
        try:
            made = Layer(one, case_of(tp, tokens), config, x, logits)
            got = made.run(255)
            away = distance(got, found[SHIPPED].out) if found else 0.0
            if not away <= ALIKE:
                wrong.append({"tile": name, "failed": f"{away:.2e} from the shipped row, at most {ALIKE}"})
                continue
            found[name] = made
        except Exception as error:
            wrong.append({"tile": name, "failed": told(error)})
    return found, wrong


def launches(made: Layer, tp: int, tokens: int) -> dict[str, Callable[[], Any]]:
    """Each launch of a layer that has run, by its kernel's name, over the buffers that it left; a GEMM with a ring also with no program too many ("exact"):
    what the programs cost that any routing might need and this one does not, each with an SM's shared memory."""
    x, logits, weights, _ = made.given
    env = bindings(made.space.views(made.sizes), weights, x, logits, made.out)
    found: dict[str, Callable[[], Any]] = {}
    for step in plan(case_of(tp, tokens), made.options["config"]):
        found[step.kernel.__name__] = partial(_run, step, env)
        if step.tiles:
            live = int(env["block_count"][0]) * tiles(step.constants["N"], made.options["config"].up)
            found[f"{step.kernel.__name__}, exact"] = partial(_run, replace(step, grid=(live,)), env)
    return found


def timed(tp: int, sizes: Sequence[int], configs: dict[str, LayerConfig], *, device: str = "cuda", rounds: int = 16, seconds: float = 240.0,
          steps: bool = False) -> Iterator[Row]:  # fmt: skip
    """One row for each layer, or launch, and size: microseconds, their interval, the ratio to the shipped row's. `up` alone reads x where `down` alone leaves
    the parts: timed one by one, in their order, each still has what it reads, but for x in its copy."""
    end = time.monotonic() + seconds
    one = stored(case_of(tp, 1).shape, device)
    for tokens in sizes:
        about = {"part": "steps" if steps else "layer", "tp": tp, "M": tokens}
        if time.monotonic() > end:
            yield {**about, "left out": "no time"}
            continue
        found, wrong = layers(one, tp, tokens, configs, device)
        yield from ({**about, **row} for row in wrong)
        calls = max(2, 16384 // tokens * (1 if tp <= 2 else 2))
        todo: dict[str, list[Callable[[], Any]]] = {}
        for name, made in found.items():
            if steps:
                todo |= {f"{name}: {kernel}": [call] * calls for kernel, call in launches(made, tp, tokens).items()}
            else:
                todo[name] = [partial(_layer, made)] * calls
        try:
            taken = compare(todo, rounds)
        except Exception as error:
            yield {**about, "failed": told(error)}
            continue
        for name, got in taken.items():
            base = taken.get(SHIPPED)
            ratio = {} if base is None else {"ratio": round(got.us / base.us, 4)}
            yield {**about, "tile": name, "us": round(got.us, 2), "us_lo": round(got.us_lo, 2), "us_hi": round(got.us_hi, 2), **ratio}
        del found, todo


def _layer(made: Layer) -> torch.Tensor:
    return fused_moe(*made.given, out=made.out, workspace=made.space, **made.options)
