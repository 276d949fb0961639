"""The prototype against the shipped `up` on one H200: errors, repeats, times.

    python3 -m studies.gluon_up.timed check "128x288"
    python3 -m studies.gluon_up.timed time --tp 1 --tokens 4096 8192 16384 --tiles "128x160" "128x288" --rows OUT.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from studies.gluon_up.compiled import SMALLEST, TILES, Tile
from tunefork.bench.kernels.timing import compare
from tunefork.kernels.arch import SM90
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4.config import MoeShape
from tunefork.kernels.moe_a16w4.launch import Workspace, _run, prepare
from tunefork.kernels.moe_a16w4.plan import Case, held, sort_programs
from tunefork.kernels.moe_a16w4.reference import swiglu_oai
from tunefork.kernels.moe_a16w4.weights import Weights
from tunefork.kernels.mxfp4.format import dequantize
from tunefork.kernels.mxfp4.layout import SCALE_BIAS, FragmentLayout, unpack_matrix

REPEATS = 20
REFERENCE_TOKENS = 1000  # above, h is compared with the shipped kernel's alone
ALPHA, LIMIT = 1.702, 7.0


def random_weights(tp: int) -> Weights:
    """A rank's weights, made as they are stored: any word holds e2m1 codes; scales around 2**-6."""
    gen = torch.Generator("cuda").manual_seed(0)
    inter, made = MODEL.intermediate // tp, []
    layouts = FragmentLayout(SM90.name, 2 * inter, MODEL.hidden, interleaved=True), FragmentLayout(SM90.name, MODEL.hidden, inter)
    for layout in layouts:
        size = MODEL.experts, layout.strips
        made += [
            torch.randint(-(2**31), 2**31 - 1, (size[0], size[1] * layout.strip_words), dtype=torch.int32, device="cuda", generator=gen),
            torch.randint(118 + SCALE_BIAS, 122 + SCALE_BIAS, (size[0], size[1] * layout.strip_scales), dtype=torch.uint8, device="cuda", generator=gen),
            torch.randn(MODEL.experts, layout.rows, device="cuda", generator=gen).bfloat16(),
        ]
    w13, s13, b13, w2, s2, b2 = made
    return Weights(w13, s13, b13, w2, s2, b2, *layouts)


def blocks(counts: list[int], bm: int, extra: int) -> list[tuple[int, int, int]]:
    """Pairs of each expert -> (expert, first pair, pairs) of each block: bm, an expert's last up to bm + extra."""
    found, first = [], 0
    for expert, count in enumerate(counts):
        number = -(-max(count - extra, min(count, 1)) // bm)
        for at in range(number):
            found.append((expert, first + at * bm, count - at * bm if at == number - 1 else bm))
        first += count
    return found


class Problem:
    """One call of the layer up to `up`: the shipped steps on their buffers, and the prototype's copy of x and result."""

    def __init__(self, weights: Weights, tokens: int) -> None:
        gen = torch.Generator("cuda").manual_seed(tokens)
        self.weights, self.tokens, self.inter = weights, tokens, weights.intermediate
        self.x = torch.randn(tokens, MODEL.hidden, device="cuda", generator=gen).bfloat16()
        quantiles = torch.special.ndtri((torch.arange(MODEL.experts, device="cuda") + 0.5) / MODEL.experts)
        order = torch.rand(tokens, MODEL.experts, device="cuda", generator=gen).argsort(1)
        logits = (quantiles[order] * (0.5 + torch.rand(tokens, 1, device="cuda", generator=gen))).bfloat16()
        case = Case(SM90.name, MoeShape(MODEL.hidden, self.inter, MODEL.experts, MODEL.topk), tokens, MODEL.experts)
        prepared = prepare(case, None)
        space = Workspace(torch.empty(prepared.bytes, dtype=torch.uint8, device="cuda"))
        self.env: dict[str, Any] = {
            **space.views(prepared.sizes), **weights.arguments, "x": self.x, "x_stride": MODEL.hidden, "logits": logits, "logits_stride": MODEL.experts,
            "out": torch.empty_like(self.x), "out_stride": MODEL.hidden, "M": tokens, "alpha": ALPHA, "limit": LIMIT, "live": None, "map": None,
            "programs": sort_programs(SM90.name, tokens),
        }  # fmt: skip
        self.steps = {step.kernel.__name__: step for step in prepared.steps}
        for name in self.steps:
            if name == "up_tiled_kernel":
                break
            self.run(name)
        self.sorted = torch.empty(tokens * MODEL.topk, MODEL.hidden, dtype=torch.bfloat16, device="cuda")
        self.h = torch.empty(tokens * MODEL.topk, held(self.inter), dtype=torch.bfloat16, device="cuda")
        self.copy()

    def run(self, name: str) -> None:
        """One shipped step."""
        _run(self.steps[name], self.env)

    def copy(self) -> None:
        """x in expert order, which only the prototype needs."""
        from studies.gluon_up.kernel import sorted_copy_kernel

        grid = (self.tokens * MODEL.topk,)
        sorted_copy_kernel[grid](self.x, MODEL.hidden, self.sorted, self.env["pairs"], MODEL.hidden, MODEL.topk, num_warps=4)

    def prototype(self, tile: Tile) -> Callable[[], Any]:
        """A call that writes `h`."""
        from triton.experimental.gluon import language as gl
        from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

        from studies.gluon_up.kernel import up_gluon

        counts = torch.bincount(self.env["ids"].long(), minlength=MODEL.experts).tolist()
        found = blocks(counts, tile.bm, tile.extra)
        tables = [torch.tensor(column, dtype=torch.int32, device="cuda") for column in (*zip(*found, strict=True), (len(found),))]
        constants = tile.constants(2 * self.inter, MODEL.hidden)
        swizzled = gl.NVMMASharedLayout(128, 16, 2)
        shown = [TensorDescriptor(self.sorted, list(self.sorted.shape), [MODEL.hidden, 1], [rows, 64], swizzled) for rows in (tile.bm, tile.extra or SMALLEST)]
        w = self.env
        arguments = (*shown, w["w13"], w["s13"], w["s13_32"], w["b13"], self.h, *tables, ALPHA, LIMIT)
        grid = (len(found) * -(-(2 * self.inter // 16) // (tile.wn * tile.r)),)
        return lambda: up_gluon[grid](*arguments, **constants, num_warps=tile.wn)

    def reference(self) -> torch.Tensor:
        """h by products in float32, in expert order, each group of 32 columns in the operand's order."""
        pairs = self.env["pairs"].long()
        ids = self.env["ids"].long()[pairs]
        out = torch.zeros(self.h.shape, dtype=torch.float32, device="cuda")
        w = self.weights
        for expert in ids.unique().tolist():
            where = (ids == expert).nonzero()[:, 0]
            values, scales = unpack_matrix(w.w13[expert : expert + 1], w.s13[expert : expert + 1], w.layout13)
            sums = self.x[pairs[where] // MODEL.topk].float() @ dequantize(values[0], scales[0]).T + w.b13[expert].float()
            out[where, : self.inter] = swiglu_oai(sums, ALPHA, LIMIT)
        return out.view(-1, out.shape[1] // 32, 4, 2, 2, 2).permute(0, 1, 3, 4, 2, 5).reshape(out.shape)


def error_of(got: torch.Tensor, want: torch.Tensor) -> float:
    """|got - want| / |want|."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def check(name: str) -> None:
    """Print the errors of h at ragged sizes, to the shipped kernel and to float32, and how many of REPEATS repeat bit for bit."""
    for tp, sizes in ((1, (300, 1000, 4096)), (8, (300, 4096))):
        weights = random_weights(tp)
        for tokens in sizes:
            problem = Problem(weights, tokens)
            problem.run("up_tiled_kernel")
            ours = problem.env["h"].view(problem.h.shape)
            call = problem.prototype(TILES[name])
            call()
            first, same = problem.h.clone(), 0
            for _ in range(REPEATS):
                problem.h.fill_(float("nan"))
                call()
                same += int(torch.equal(first, problem.h))
            said = {"tile": name, "tp": tp, "M": tokens, "to_ours": error_of(first, ours), "repeats": same, "of": REPEATS}
            if tokens <= REFERENCE_TOKENS:
                want = problem.reference()
                said |= {"ours_to_fp32": error_of(ours, want), "to_fp32": error_of(first, want)}
            print(json.dumps(said), flush=True)


def timed(tp: int, sizes: list[int], names: list[str], rows: Path | None) -> None:
    """Print, and write to `rows`, microseconds of `up` and of the two copies of x: medians over rounds with their interval, all interleaved."""
    weights = random_weights(tp)
    for tokens in sizes:
        problem = Problem(weights, tokens)
        calls = max(2, 8 * 4096 // tokens * (1 if tp == 1 else 4))
        todo: dict[str, Callable[[], Any]] = {name: problem.prototype(TILES[name]) for name in names}
        todo |= {"ours": partial(problem.run, "up_tiled_kernel"), "interleave": partial(problem.run, "interleave_kernel"), "sorted copy": problem.copy}
        for name, one in compare({name: [call] * calls for name, call in todo.items()}, rounds=10).items():
            row = {"part": name, "tp": tp, "M": tokens, "us": one.us, "us_lo": one.us_lo, "us_hi": one.us_hi}
            print(json.dumps(row), flush=True)
            if rows is not None:
                with rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m studies.gluon_up.timed", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("check").add_argument("tile", choices=sorted(TILES))
    time = commands.add_parser("time")
    time.add_argument("--tp", type=int, default=1)
    time.add_argument("--tokens", type=int, nargs="+", required=True)
    time.add_argument("--tiles", nargs="+", choices=sorted(TILES), required=True)
    time.add_argument("--rows", type=Path, help="JSON lines are added to this file")
    given = parser.parse_args(words)
    if given.what == "check":
        check(given.tile)
    else:
        timed(given.tp, given.tokens, given.tiles, given.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
