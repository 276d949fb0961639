"""Budgets: limits on a kernel's facts, one JSON file per kernel (budgets/README.md), and the last values that were good."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base.files import write_atomically
from tunefork.kernels.amdgcn.errors import BadBudget
from tunefork.kernels.amdgcn.facts import Facts
from tunefork.kernels.amdgcn.model import LoopModel

BUDGETS = Path(__file__).resolve().parent / "budgets"
WIDE = "16"


@dataclass(frozen=True)
class Limit:
    """The values that a fact may have."""

    fact: str
    least: float | None = None
    most: float | None = None

    def allows(self, value: float) -> bool:
        """Whether a value keeps both bounds, which are included."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        parts = [f"at least {self.least:g}" if self.least is not None else "", f"at most {self.most:g}" if self.most is not None else ""]
        return " and ".join(part for part in parts if part)


DEFAULT_LIMITS = {
    limit.fact: limit
    for limit in (
        Limit("spills", most=0),
        Limit("scratch", most=0),
        Limit("barriers_per_iteration", most=2),
        Limit("redundant_mfma", most=0),
        Limit("replicated_mfma", most=0),
        Limit("occupancy", least=1),
        Limit("wide_weight_loads", least=1),
        Limit("narrow_weight_loads", most=0),
        Limit("unattributed_loads", most=0),
    )
}
"""What holds for every kernel that is shipped, unless its own file says otherwise."""


def measures(facts: Facts, model: LoopModel | None = None, work_groups: int | None = None, least_groups: int | None = None) -> dict[str, float]:
    """The facts that budgets may limit, by name. What a kernel does not have (a loop, a model, a grid) is left out.

    The gate adds replicated_mfma from execution: matrix instructions that repeat another wave's of the same work-group; and, for kernels that
    name their weights, wide_weight_loads (of 16 bytes per lane; none would mean that they are not seen), narrow_weight_loads (narrower, beyond the
    K tail's) and unattributed_loads.

    barriers_per_iteration: of the K loop, so that only loops with matrix instructions have it.
    wide_load_share: bytes of the K loop's global loads that come 16 bytes per lane, over all of them; of the whole kernel
        where its K loop is unrolled away.
    """
    values: dict[str, float] = {
        "spills": facts.spills,
        "vgpr_spills": facts.vgpr_spills,
        "scratch": facts.scratch,
        "vgprs": facts.vgprs,
        "agprs": facts.agprs,
        "sgprs": facts.sgprs,
        "lds": facts.lds,
        "occupancy": facts.occupancy,
        "code_bytes": facts.code_bytes,
        "barriers": facts.barriers,
        "redundant_mfma": facts.redundant_mfma,
        "widest_load": max((int(width) for width in facts.loads), default=0),
    }
    if loop := facts.loop:
        values |= {
            "instructions_per_iteration": loop.instructions,
            "mfma_per_iteration": loop.mfma_total,
        }
        if loop.mfma_total:
            values["barriers_per_iteration"] = loop.barriers
    if facts.mfma:
        loads = loop.loads if loop and loop.mfma_total else facts.loads
        values["wide_load_share"] = wide_share(loads)
    if model:
        values["modelled_cycles"] = model.cycles
        if model.cycles_per_load_byte is not None:
            values["modelled_cycles_per_load_byte"] = model.cycles_per_load_byte
        if model.cycles_per_weight_byte is not None:
            values["modelled_cycles_per_weight_byte"] = model.cycles_per_weight_byte
    if work_groups is not None:
        values["work_groups"] = work_groups
    if least_groups is not None:
        values["work_groups_least"] = least_groups
    return values


def wide_share(loads: Mapping[str, int]) -> float:
    """Share of loaded bytes that come 16 bytes per lane; 0 without loads."""
    total = sum(int(width) * count for width, count in loads.items())
    return 16 * loads.get(WIDE, 0) / total if total else 0.0


def weight_loads(loads: Mapping[str, Mapping[str, int]], weights: Sequence[str], tail_loads: int) -> dict[str, float]:
    """The facts about loads by argument (provenance.py) of a whole kernel that names its weights; empty for others."""
    if not weights:
        return {}
    narrow = sum(count for name in weights for width, count in loads.get(name, {}).items() if int(width) < int(WIDE))
    wide = sum(loads.get(name, {}).get(WIDE, 0) for name in weights)
    return {"wide_weight_loads": wide, "narrow_weight_loads": max(narrow - tail_loads, 0), "unattributed_loads": sum(loads.get("?", {}).values())}


def without_kernel(kernels: set[str], folder: Path = BUDGETS) -> list[Path]:
    """Budget files that belong to no kernel: nothing would ever hold them."""
    return sorted(path for path in folder.glob("*.json") if path.stem not in kernels)


@dataclass(frozen=True)
class Budget:
    """One kernel's file: limits by configuration, and last good values by "config | shape"."""

    kernel: str
    path: Path
    limits: Mapping[str, Mapping[str, Limit]]
    last_good: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, kernel: str, folder: Path = BUDGETS) -> Budget:
        """The budget of a kernel; without a file only DEFAULT_LIMITS hold. Errors: BadBudget."""
        path = folder / f"{kernel}.json"
        if not path.is_file():
            return cls(kernel, path, {}, {})
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            raise BadBudget(f"{path} is not JSON: {error}") from error
        limits = {config: _limits(path, rows) for config, rows in content.get("limits", {}).items()}
        return cls(kernel, path, limits, content.get("last_good", {}))

    def limits_for(self, config: str) -> dict[str, Limit]:
        """Limits of a configuration: for every kernel, this kernel's default, its own."""
        return {**DEFAULT_LIMITS, **self.limits.get("default", {}), **self.limits.get(config, {})}

    def last(self, config: str, shape: str, fact: str) -> float | None:
        """The last good value of a fact; None where none was recorded."""
        return self.last_good.get(f"{config} | {shape}", {}).get(fact)

    def record(self, rows: Mapping[str, Mapping[str, float]]) -> None:
        """Write the last good values of rows ("config | shape" -> facts), keeping what the file has besides."""
        content: dict[str, Any] = json.loads(self.path.read_text()) if self.path.is_file() else {"limits": {"default": {}}}
        good = content.get("last_good", {})
        content["last_good"] = {**good, **{label: dict(values) for label, values in rows.items()}}
        write_atomically(self.path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _limits(path: Path, rows: Mapping[str, Any]) -> dict[str, Limit]:
    limits = {}
    for fact, bounds in rows.items():
        if not isinstance(bounds, dict) or not bounds or set(bounds) - {"min", "max"}:
            raise BadBudget(f"{path}: {fact} wants {{'min': x}} or {{'max': x}}, found {bounds!r}")
        if not all(isinstance(value, int | float) for value in bounds.values()):
            raise BadBudget(f"{path}: the limits of {fact} must be numbers, found {bounds!r}")
        limits[fact] = Limit(fact, bounds.get("min"), bounds.get("max"))
    return limits


def failures(label: str, values: Mapping[str, float], limits: Mapping[str, Limit], last: Mapping[str, float]) -> list[str]:
    """One line for each budget that does not hold: kernel, configuration, fact, limit, last good value.

    A fact of DEFAULT_LIMITS that the kernel does not have (no loop) holds; any other one that is missing does not.
    """
    lines = []
    for fact, limit in limits.items():
        value = values.get(fact)
        if value is None:
            if fact not in DEFAULT_LIMITS and not fact.startswith("modelled_"):
                lines.append(f"{label}: {fact} has a limit ({limit}) but the code does not show it")
        elif not limit.allows(value):
            known = f"last good {last[fact]:g}" if fact in last else "no last good value"
            lines.append(f"{label}: {fact} is {value:g}, the limit is {limit} ({known})")
    return lines
