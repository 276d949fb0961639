"""`fused_moe`: one MXFP4 MoE layer on the active device, a handful of launches, no host synchronisation, safe under graph capture."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.moe_a16w4.config import LayerConfig, MoeShape, ends, illegal, pick, ring_ends
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.moe_a16w4.plan import TILE_COLUMNS, Case, Step, Tiles, buffers, plan, settle, sort_programs
from tunefork.kernels.moe_a16w4.weights import Weights

_ALIGN = 256
PREPARED = 1024


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a call takes from its case and configuration alone: the launches, and the workspace's buffers with their bytes. It holds no tensor, so that
    it outlives nothing, serves every layer of a model, and does not care whether a graph is being captured."""

    steps: tuple[Step, ...]
    sizes: dict[str, tuple[int, str]]
    bytes: int


@lru_cache(maxsize=PREPARED)
def prepare(case: Case, config: LayerConfig | None) -> Prepared:
    """Made once for each case and configuration (None: the table's); the least recently used beyond PREPARED are forgotten. Errors: BadInput for a
    configuration that cannot run the case."""
    config = config or pick(case.arch, case.shape, case.tokens, case.has_map, case.experts, case.asm)
    reason = illegal(config, case.shape, case.tokens, case.arch, case.has_map)
    if reason:
        raise BadInput(f"this configuration cannot run M={case.tokens}: {reason}", "leave config out to use the table")
    if config.up.ring and not case.asm:
        raise BadInput("a GEMM with a ring is in Gluon, which has no interpreter", "leave config out, or run it on a GPU")
    sizes = buffers(case, config)
    return Prepared(tuple(plan(case, config)), sizes, workspace_size(sizes))


@dataclass(frozen=True)
class Workspace:
    """Scratch memory of one layer call; layers that run one after another share it. Its content never matters."""

    memory: torch.Tensor  # [bytes] uint8
    _carved: WeakKeyDictionary[Prepared, dict[str, torch.Tensor]] = field(default_factory=WeakKeyDictionary, init=False, repr=False, compare=False)

    def buffers(self, prepared: Prepared) -> dict[str, torch.Tensor]:
        """The buffers of a prepared call, carved once."""
        found = self._carved.get(prepared)
        if found is None:
            found = self._carved[prepared] = self.views(prepared.sizes)
        return found

    def views(self, sizes: dict[str, tuple[int, str]]) -> dict[str, torch.Tensor]:
        """The named buffers, each (elements, torch dtype name), one-dimensional, at multiples of 256 bytes. Errors: BadInput where memory is too small."""
        found, at = {}, 0
        for name, (count, dtype) in sizes.items():
            kind = getattr(torch, dtype)
            size = count * kind.itemsize
            if at + size > self.memory.numel():
                raise BadInput(f"workspace of {self.memory.numel()} bytes is too small, {workspace_size(sizes)} needed",
                               "size it with make_workspace for the largest M")
            found[name] = self.memory[at : at + size].view(kind)
            at += -(-size // _ALIGN) * _ALIGN
        return found


def workspace_size(sizes: dict[str, tuple[int, str]]) -> int:
    """Bytes for these buffers, each (elements, torch dtype name), every one rounded up to 256."""
    return sum(-(-count * getattr(torch, dtype).itemsize // _ALIGN) * _ALIGN for count, dtype in sizes.values())


def make_workspace(weights: Weights, max_tokens: int, *, experts: int | None = None, topk: int = 4, config: LayerConfig | None = None) -> Workspace:
    """A workspace for any M up to `max_tokens`, on the weights' device; its size is the largest that some M needs. experts: the router's width, if
    not all are local. config: what fused_moe will be given (None: the table's). Errors: BadInput where the table has nothing for some M."""
    shape, routed, arch = MoeShape(weights.hidden, weights.intermediate, weights.experts, topk), experts or weights.experts, weights.layout13.arch
    # Buffers grow with M while the configuration stays; a row may be illegal up to some M, so powers of two are asked for as well.
    changes = (*(end for end, _ in ends(arch, shape, routed)), *ring_ends(shape, routed), *(1 << bit for bit in range(max_tokens.bit_length() + 1)))
    sizes = {min(tokens, max_tokens) for tokens in changes if tokens > 0}
    need = 0
    for tokens in sizes:
        case = Case(arch, shape, tokens, routed)
        chosen = config or pick(arch, shape, tokens, routed != weights.experts, routed)
        need = max(need, workspace_size(buffers(case, chosen)))
    return Workspace(torch.empty(need, dtype=torch.uint8, device=weights.w13.device))


def _check(x: torch.Tensor, logits: torch.Tensor, weights: Weights, out: torch.Tensor) -> None:
    tokens = x.shape[0]
    if x.dim() != 2 or x.shape[1] != weights.hidden or x.dtype != torch.bfloat16 or x.stride(1) != 1 or x.stride(0) % 8 or x.data_ptr() % 16:
        raise BadInput(f"x: expected (M, {weights.hidden}) bfloat16, rows 16-byte aligned, got {tuple(x.shape)} {x.dtype} strides {x.stride()}",
                       "pass a row slice, or x.contiguous()")
    if logits.dim() != 2 or logits.shape[0] != tokens or logits.stride(1) != 1 or not logits.dtype.is_floating_point:
        raise BadInput(f"router_logits: expected ({tokens}, E) floating point, unit inner stride, got {tuple(logits.shape)} {logits.dtype}",
                       "pass one row of logits per row of x")
    if out.shape != x.shape or out.dtype != torch.bfloat16 or out.stride(1) != 1:
        raise BadInput(f"out: expected {tuple(x.shape)} bfloat16, unit inner stride, got {tuple(out.shape)} {out.dtype}", "leave it out to get a fresh one")
    if not 1 <= tokens <= 16384:
        raise BadInput(f"M = {tokens} is outside 1..16384", "split the batch")


def _check_choice(experts: int, topk: int, expert_map: torch.Tensor | None, num_live: torch.Tensor | None) -> None:
    """What the kernels would read past, or choose twice."""
    if not 1 <= topk <= experts:
        raise BadInput(f"topk = {topk} of {experts} experts", "choose between 1 and all of them")
    if expert_map is not None and (expert_map.shape != (experts,) or expert_map.dtype != torch.int32 or not expert_map.is_contiguous()):
        raise BadInput(f"expert_map: expected ({experts},) int32, contiguous, got {tuple(expert_map.shape)} {expert_map.dtype}",
                       "give each column of router_logits its local id, or -1")
    if num_live is not None and (num_live.numel() != 1 or num_live.dtype != torch.int32):
        raise BadInput(f"num_live: expected (1,) int32, got {tuple(num_live.shape)} {num_live.dtype}", "pass one count, on the device")


def tile_layout() -> Any:
    """How a tile lies in shared memory: rows of 128 bytes, swizzled over as many. Errors: ImportError for a Triton without Gluon."""
    from triton.experimental.gluon.language import NVMMASharedLayout

    return NVMMASharedLayout(swizzle_byte_width=2 * TILE_COLUMNS, element_bitwidth=16, rank=2)


def described(tiles: Tiles, buffer: Any, rows: int) -> Any:
    """The descriptor by which TMA reads `rows` rows of a buffer. Errors: BadInput for a Triton without Gluon."""
    try:
        from triton.experimental.gluon.nvidia.hopper import TensorDescriptor
    except ImportError as error:
        raise BadInput(f"this Triton has no Gluon for NVIDIA's GPUs ({error})", "Triton 3.6.0 to 3.9.0 have") from error
    return TensorDescriptor(buffer, [rows, tiles.columns], [tiles.columns, 1], [tiles.rows, TILE_COLUMNS], tile_layout())


def bindings(
    found: dict[str, torch.Tensor], weights: Weights, x: torch.Tensor, router_logits: torch.Tensor, out: torch.Tensor, num_live: torch.Tensor | None = None,
    expert_map: torch.Tensor | None = None, alpha: float = 1.702, limit: float = 7.0,
) -> dict[str, Any]:  # fmt: skip
    """What a plan's steps are bound to, by the names in `bind`. found: the workspace's buffers; the rest as `fused_moe` takes it."""
    return {
        **found, **weights.arguments, "x": x, "x_stride": x.stride(0), "logits": router_logits, "logits_stride": router_logits.stride(0), "out": out,
        "out_stride": out.stride(0), "M": x.shape[0], "alpha": alpha, "limit": limit, "live": num_live, "map": expert_map,
        "programs": sort_programs(weights.layout13.arch, x.shape[0]),
    }  # fmt: skip


def _run(step: Step, env: dict[str, Any]) -> None:
    settle(step)
    arguments = {name: None if key is None else env[key] for name, key in step.bind.items()}
    arguments |= {name: described(tiles, env[tiles.buffer], env[tiles.buffer].numel() // tiles.columns) for name, tiles in step.tiles.items()}
    step.kernel[step.grid](**arguments, **step.constants, num_warps=step.warps, num_stages=1, **step.options)


def fused_moe(
    x: torch.Tensor,  # (M, H) bf16, rows may be strided
    router_logits: torch.Tensor,  # (M, E) bf16 or fp32, E the global number of experts
    weights: Weights,
    topk: int = 4,
    *,
    out: torch.Tensor | None = None,  # (M, H) bf16, rows may be strided
    workspace: Workspace | None = None,
    num_live: torch.Tensor | None = None,  # [1] int32 on the device: rows at or beyond it are neither read nor written
    expert_map: torch.Tensor | None = None,  # [E] int32: local id of each global expert, -1 where another rank has it
    alpha: float = 1.702,
    limit: float = 7.0,
    config: LayerConfig | None = None,
) -> torch.Tensor:
    """sum_k softmax(top-k logits)_k * (w2_k SwiGLU(w13_k x + b13_k) + b2_k) -> (M, H) bf16.

    SwiGLU-OAI as openai/gpt-oss defines it: gate, up interleaved; g = min(gate, limit), (clamp(up, -limit, limit) + 1) * g * sigmoid(alpha * g).
    Accumulates in float32; the result does not depend on scheduling (every sum has a fixed order), so there is no other, faster mode. Pass
    `workspace` (make_workspace) and `out` under graph capture. With an expert map, `out` holds this rank's part only. M is 1 to 16384.

    Errors: BadInput for a shape, dtype, stride or alignment that the kernels cannot read, a workspace that is too small, a configuration that cannot
    run this M, and a GPU without the instructions. What values the tensors hold is not looked at.
    """
    out = torch.empty_like(x) if out is None else out
    _check(x, router_logits, weights, out)
    _check_choice(router_logits.shape[1], topk, expert_map, num_live)
    tokens, arch = x.shape[0], weights.layout13.arch
    shape = MoeShape(weights.hidden, weights.intermediate, weights.experts, topk)
    if expert_map is None and router_logits.shape[1] != weights.experts:
        raise BadInput(f"{router_logits.shape[1]} logits for {weights.experts} experts", "pass expert_map when a rank holds only some experts")
    asm = target().asm
    case = Case(arch, shape, tokens, router_logits.shape[1], asm, weights.layout13.wide, weights.layout2.wide, num_live is not None, expert_map is not None)
    prepared = prepare(case, config)
    if workspace is None:  # not kept: a call on another stream, or a graph's replay, must not share it
        found = Workspace(torch.empty(prepared.bytes, dtype=torch.uint8, device=x.device)).views(prepared.sizes)
    else:
        found = workspace.buffers(prepared)
    env = bindings(found, weights, x, router_logits, out, num_live, expert_map, alpha, limit)
    for step in prepared.steps:
        _run(step, env)
    return out
