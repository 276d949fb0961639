"""Whether a layer with a ring is right on a GPU: against float32 and against the shipped row, twenty times bit for bit, from poisoned workspaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tunefork.bench.kernels.timing import told
from tunefork.kernels.arch import SM90
from tunefork.kernels.moe_a16w4 import LayerConfig, MoeShape, Weights, fused_moe, illegal, pick, prepare_weights
from tunefork.kernels.moe_a16w4.launch import Workspace, workspace_size
from tunefork.kernels.moe_a16w4.plan import Case, buffers
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

REPEATS = 20
POISON = (255, 0x3F)  # not-a-number in bf16 and float32, and a number
TOLERANCE = 4e-3
Row = dict[str, Any]
Plain = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Problem:
    """A layer's weights, plain and prepared."""

    shape: MoeShape
    plain: Plain
    weights: Weights


def problem(shape: MoeShape, device: str) -> Problem:
    """Random weights, scales around 2**-8."""
    gen = torch.Generator(device).manual_seed(shape.intermediate)

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (torch.randint(0, 256, (shape.experts, rows, cols // 2), dtype=torch.uint8, device=device, generator=gen),
                torch.randint(116, 122, (shape.experts, rows, -(-cols // 32)), dtype=torch.uint8, device=device, generator=gen),
                torch.randn(shape.experts, rows, device=device, generator=gen).bfloat16())

    w13, s13, b13 = matrix(2 * shape.intermediate, shape.hidden)
    w2, s2, b2 = matrix(shape.hidden, shape.intermediate)
    return Problem(shape, (w13, s13, b13, w2, s2, b2), prepare_weights(w13, s13, b13, w2, s2, b2, arch=SM90.name))


def inputs(shape: MoeShape, tokens: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, logits): no two of a row's logits are equal in bf16 where they are chosen from."""
    gen = torch.Generator(device).manual_seed(tokens)
    quantiles = torch.special.ndtri((torch.arange(shape.experts, device=device) + 0.5) / shape.experts)
    order = torch.rand(tokens, shape.experts, device=device, generator=gen).argsort(1)
    logits = quantiles[order] * (0.5 + torch.rand(tokens, 1, device=device, generator=gen))
    return torch.randn(tokens, shape.hidden, device=device, generator=gen).bfloat16(), logits.bfloat16()


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    """|got - want| / |want|, 2-norms."""
    return float((got.float() - want.float()).norm() / want.float().norm())


class Layer:
    """One configuration on a workspace of its own, exactly as large as it needs."""

    def __init__(self, one: Problem, case: Case, config: LayerConfig, x: torch.Tensor, logits: torch.Tensor, **options: Any) -> None:
        self.given = (x, logits, one.weights, one.shape.topk)
        self.sizes, self.options = buffers(case, config), {**options, "config": config}
        self.space = Workspace(torch.empty(workspace_size(self.sizes), dtype=torch.uint8, device=x.device))
        self.out = torch.empty_like(x)

    def run(self, poison: int) -> torch.Tensor:
        """Everything that it writes is poisoned first."""
        self.space.memory.fill_(poison)
        self.out.fill_(float("nan"))
        return fused_moe(*self.given, out=self.out, workspace=self.space, **self.options)

    def buffer(self, name: str) -> torch.Tensor:
        return self.space.views(self.sizes)[name]


def cell(one: Problem, tokens: int, config: LayerConfig, device: str, kind: str = "plain") -> Row:
    """One number of tokens. kind: "plain"; "live", where the last third of the rows is padding; "mapped", where the router's second half of the experts is
    another rank's. Errors: whatever the launches raise."""
    shape = one.shape
    x, logits = inputs(shape, tokens, device)
    options: dict[str, Any] = {}
    rows, router = tokens, shape.experts
    if kind == "live":
        rows = tokens - tokens // 3
        x[rows:], logits[rows:] = float("nan"), float("nan")
        options["num_live"] = torch.tensor([rows], dtype=torch.int32, device=device)
    if kind == "mapped":
        router = 2 * shape.experts
        logits = torch.cat((logits, logits.roll(1, 0)), 1).contiguous()
        local = torch.arange(router, dtype=torch.int32, device=device)
        options["expert_map"] = torch.where(local < shape.experts, local, -1).int()
    case = Case(SM90.name, shape, tokens, router, True, one.weights.layout13.wide, one.weights.layout2.wide, kind == "live", kind == "mapped")
    reason = illegal(config, shape, tokens, SM90.name, kind == "mapped")
    if reason:
        return {"left out": reason}
    shipped = pick(SM90.name, shape, tokens, kind == "mapped", router)
    ours, theirs = (Layer(one, case, each, x, logits, **options) for each in (config, shipped))
    first, same = ours.run(POISON[0]).clone(), 0
    h = ours.buffer("h").clone()
    for repeat in range(REPEATS):
        same += int(torch.equal(ours.run(POISON[repeat % 2])[:rows], first[:rows]))
    mine = {key: value for key, value in options.items() if key == "expert_map"}
    want = fused_moe_reference(x[:rows], logits[:rows], one.plain, shape.topk, **mine)
    other = theirs.run(POISON[0])
    found: Row = {"error": distance(first[:rows], want), "shipped_error": distance(other[:rows], want), "to_shipped": distance(first[:rows], other[:rows]),
                  "repeats": same, "of": REPEATS, "finite": bool(first[:rows].isfinite().all()), "untouched": bool(first[rows:].isnan().all())}  # fmt: skip
    if kind == "plain" and theirs.buffer("h").shape == h.shape and shipped.down.tiled:
        found["h_to_shipped"] = distance(h, theirs.buffer("h"))
    found["ok"] = found["error"] <= TOLERANCE and same == REPEATS and found["finite"] and found["untouched"]
    return found


def checks(name: str, config: LayerConfig, shapes: Sequence[MoeShape], tokens: Sequence[int], device: str = "cuda") -> Iterator[Row]:
    """A row before each cell and one behind it, so that one that never ends has a name; the first size with padding and with an expert map, too."""
    for shape in shapes:
        one = problem(shape, device)
        for count, kind in [(each, "plain") for each in tokens] + [(tokens[0], "live"), (tokens[0], "mapped")]:
            about = {"part": "checks", "tile": name, "hidden": shape.hidden, "intermediate": shape.intermediate, "M": count, "kind": kind}
            yield {**about, "begins": True}
            try:
                yield {**about, **cell(one, count, config, device, kind)}
            except Exception as error:  # a row says what it was, the next cell may still do
                yield {**about, "failed": told(error), "ok": False}
        del one
