"""Where every element of the MoE layer's output must lie, derived from the layer's arithmetic: no tolerance is read off a run.

The kernels compute in float32 and store bf16 twice: h, the activations between the two GEMMs, and the output. Everything else is exact
(products of bf16 in float32, e2m1 times a power of two) or a float32 operation. So, with u = 2**-24:

- A sum of n products in float32, in whatever order, is off by at most g(n) * sum |products|, g(n) = n u / (1 - n u) (Higham, Accuracy and
  Stability of Numerical Algorithms, 2nd edition, section 3.1). That covers every tiling, split and number of threads.
- SwiGLU is (up + 1) * s(gate), s(g) = g / (1 + exp(-alpha g)). Clamps move no two values apart and |s'| < 1.1, which carries the sums' errors
  through. Its own operations cost at most (2 |alpha g| + 12) u relatively: the exponent is off by |alpha g| u for alpha and for the product
  each, an exp is good to 4 units in the last place (8 u), four more operations take u each.
- The softmax of the chosen logits likewise: (|logit - largest| + 24) u, where the denominator's exps and three additions count too.
- A gate's product and the sum over a token's experts: fewer than 4 TOPK operations on magnitudes, the parts of a split sum included.
- A store to bf16 is monotone: what lies in [a, b] is stored in [stored(a), stored(b)]. The interval is a spacing of bf16 wide, 2**-7 at
  most of the value, where a number lies so close to a step that float32's error decides, and a single point elsewhere.

What `stored` is, is whose error? Hardware rounds to the nearest: an error of 2**-8 at most, with mean zero. Triton's interpreter passes
no rounding mode for float32 to bf16 (3.7.1: cast_impl in runtime/interpreter.py) and cuts the low bits off: an error of up to 2**-7, always
towards zero. Two such biases add up to about 6e-3 of the output's norm, more where a case has few elements: this is the interpreter's error,
not the kernel's, and no bound on the norm separates it from one that is. These intervals do: they know both stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tunefork.kernels.moe_a16w4.reference import route
from tunefork.kernels.mxfp4 import dequantize

U = 2.0**-24
Stored = Callable[[torch.Tensor], torch.Tensor]


def truncated(values: torch.Tensor) -> torch.Tensor:
    """float64 -> the bf16 at or before it on the way to zero, as float64."""
    bits = values.float().view(torch.int32) & -65536
    return bits.view(torch.float32).double()


def nearest(values: torch.Tensor) -> torch.Tensor:
    """float64 -> the nearest bf16, as float64."""
    return values.float().bfloat16().double()


def gamma(terms: int) -> float:
    """Relative to the sum of magnitudes: what a float32 sum of that many terms can be off, in any order."""
    return terms * U / (1 - terms * U)


@dataclass(frozen=True)
class Interval:
    """Values within ``radius`` of ``middle``, elementwise, in float64."""

    middle: torch.Tensor
    radius: torch.Tensor

    def linear(self, weights: torch.Tensor, bias: torch.Tensor) -> tuple[Interval, torch.Tensor]:
        """weights @ these + bias, summed in float32; and the sum of magnitudes."""
        size = (self.middle.abs() + self.radius) @ weights.abs().T + bias.abs()
        return Interval(self.middle @ weights.T + bias, self.radius @ weights.abs().T + gamma(weights.shape[1] + 1) * size), size

    def through(self, stored: Stored) -> Interval:
        """Stored as bf16."""
        low, high = stored(self.middle - self.radius), stored(self.middle + self.radius)
        return Interval((low + high) / 2, (high - low) / 2)

    def distance(self, values: torch.Tensor) -> torch.Tensor:
        """How far outside each value is; 0 inside."""
        return ((values.double() - self.middle).abs() - self.radius).clamp(min=0)


def swiglu(given: Interval, alpha: float, limit: float) -> Interval:
    """Interleaved gate and up -> activations, evaluated in float32."""
    gate, up = given.middle[..., 0::2].clamp(max=limit), given.middle[..., 1::2].clamp(-limit, limit)
    gate_off, up_off = 1.1 * given.radius[..., 0::2], given.radius[..., 1::2]
    part = gate * torch.sigmoid(alpha * gate)
    carried = (up + 1).abs() * gate_off + part.abs() * up_off + gate_off * up_off
    own = (2 * (alpha * gate).abs() + 12) * U * ((up + 1) * part).abs()
    return Interval((up + 1) * part, 1.01 * (carried + own))  # 1.01: own is that of the middle, the value may be `carried` from it


def enclosure(
    x: torch.Tensor, router_logits: torch.Tensor, plain: tuple[torch.Tensor, ...], stored: Stored, topk: int = 4,
    *, expert_map: torch.Tensor | None = None, alpha: float = 1.702, limit: float = 7.0,
) -> Interval:  # fmt: skip
    """Arguments as fused_moe_reference takes them -> where each element of the (M, H) output lies; float32 partial sums."""
    w13, s13, b13, w2, s2, b2 = plain
    ids, _ = route(router_logits, topk)
    chosen = router_logits.double().gather(1, ids)
    gates = torch.softmax(chosen, 1)
    gates_off = (chosen.amax(1, keepdim=True) - chosen + 24) * U * gates
    if expert_map is not None:
        ids = expert_map[ids].long()
    middle, radius, size = (torch.zeros(x.shape[0], w2.shape[1], dtype=torch.float64) for _ in range(3))
    for expert in [one for one in ids.unique().tolist() if one >= 0]:
        token, choice = (ids == expert).nonzero(as_tuple=True)
        given = Interval(x[token].double(), torch.zeros(len(token), x.shape[1], dtype=torch.float64))
        hidden, _ = given.linear(dequantize(w13[expert], s13[expert]).double(), b13[expert].double())
        part, magnitude = swiglu(hidden, alpha, limit).through(stored).linear(dequantize(w2[expert], s2[expert]).double(), b2[expert].double())
        gate, off = gates[token, choice, None], gates_off[token, choice, None]
        middle.index_add_(0, token, part.middle * gate)
        radius.index_add_(0, token, part.radius * (gate + off) + part.middle.abs() * off)
        size.index_add_(0, token, magnitude * (gate + off))
    return Interval(middle, radius + gamma(4 * topk) * size).through(stored)
