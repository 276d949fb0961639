"""Which tensors are the MXFP4 weights of GPT-OSS's experts, and in which layout."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tunefork.bench.checkpoint.tensors import Tensor

GROUP = 32
_STACKED = re.compile(r"layers\.(\d+)\.mlp\.experts\.(gate_up_proj|down_proj)(?:_(blocks|scales?|bias))?$")
_SPLIT = re.compile(r"layers\.(\d+)\.mlp\.experts\.(?:(\d+)\.)?(gate_up_proj|gate_proj|up_proj|down_proj)\.(weight_packed|weight|weight_scale|bias)$")
_GGUF = re.compile(r"blk\.(\d+)\.ffn_(gate_up|gate|up|down)_exps\.(weight|bias)$")
_PARTS = {"blocks": "values", None: "values", "weight_packed": "values", "weight": "values", "scales": "scales", "scale": "scales", "weight_scale": "scales",
          "bias": "bias"}  # fmt: skip
NARROW = ("U8", "I8", "F4", "F8_E8M0", "MXFP4")


@dataclass(frozen=True)
class Projection:
    """One matrix of every expert (expert is None), or of one. kind: gate_up, gate, up or down. layout: openai, float, compressed-tensors, quark, gguf."""

    layer: int
    kind: str
    expert: int | None
    layout: str
    values: Tensor
    scales: Tensor | None
    bias: Tensor | None

    @property
    def label(self) -> str:
        """Where it is, for a message."""
        return f"layer {self.layer} {self.kind}" + (f" expert {self.expert}" if self.expert is not None else "")


def _place(name: str) -> tuple[int, str, int | None, str | None] | None:
    if found := _STACKED.search(name):
        return int(found[1]), found[2].removesuffix("_proj"), None, found[3]
    if found := _SPLIT.search(name):
        return int(found[1]), found[3].removesuffix("_proj"), int(found[2]) if found[2] else None, found[4]
    if found := _GGUF.search(name):
        return int(found[1]), found[2], None, found[3]
    return None


def projections(tensors: Iterable[Tensor]) -> tuple[list[Projection], list[str]]:
    """The MXFP4 projections, and the names of scales or values that stand alone. A checkpoint in bf16 has none of either."""
    parts: dict[tuple[int, str, int | None], dict[str, tuple[Tensor, str | None]]] = {}
    for tensor in tensors:
        if (place := _place(tensor.name)) is not None:
            parts.setdefault(place[:3], {})[_PARTS[place[3]]] = tensor, place[3]
    found, alone = [], []
    for (layer, kind, expert), have in sorted(parts.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or 0)):
        values, suffix = have.get("values", (None, None))
        scales = have["scales"][0] if "scales" in have else None
        if values is None:
            alone += [scales.name] if scales is not None else []
            continue
        if scales is None and values.dtype not in NARROW and suffix != "blocks":
            continue  # not quantised
        if scales is None and values.dtype != "MXFP4":
            alone.append(values.name)
            continue
        layout = ("gguf" if values.dtype == "MXFP4" else "float" if values.dtype == "F4" else "openai" if suffix == "blocks"
                  else "compressed-tensors" if suffix == "weight_packed" else "quark")  # fmt: skip
        found.append(Projection(layer, kind, expert, layout, values, scales, have["bias"][0] if "bias" in have else None))
    return found, alone


def expected(projection: Projection, hidden: int, intermediate: int) -> tuple[int, int]:
    """(rows, columns) of one expert's matrix."""
    if projection.kind == "down":
        return hidden, intermediate
    return (2 if projection.kind == "gate_up" else 1) * intermediate, hidden


def stored_shapes(projection: Projection, rows: int, columns: int, experts: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The shapes that values and scales must have."""
    lead = (experts,) if projection.expert is None else ()
    blocks = columns // GROUP
    if projection.layout == "gguf":
        return (*lead, rows, columns), None
    values = {"openai": (*lead, rows, blocks, GROUP // 2), "float": (*lead, rows, columns)}.get(projection.layout, (*lead, rows, columns // 2))
    return values, (*lead, rows, blocks)
