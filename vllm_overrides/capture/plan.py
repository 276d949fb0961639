"""A plan: the sizes, what they cost beside vLLM's default list and the guide's, and the forms in which others read it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from tunefork.base import jsons
from vllm_overrides.capture.cost import TableModel
from vllm_overrides.capture.optimum import Problem, solve
from vllm_overrides.capture.options import Options
from vllm_overrides.capture.rules import Limits, Settled, above, check_compile_sizes, default_sizes, guide_sizes, settle
from vllm_overrides.capture.waste import Waste, waste
from vllm_overrides.errors import OverrideError


@dataclass(frozen=True)
class Plan:
    """Sizes for one workload on one server, and three lists judged on it: the plan's, vLLM's default, the guide's.

    notes: what vLLM drops or does not use of the plan.  workload, cost: where the figures come from.  decode_rows: the widest decode
    step of the server that the plan is for; larger sizes are for steps with prefill.
    """

    sizes: tuple[int, ...]
    compile_sizes: tuple[int, ...]
    expected: Waste
    default: Waste
    guide: Waste
    notes: tuple[str, ...]
    workload: str
    cost: str
    decode_rows: int

    def as_json(self) -> dict[str, Any]:
        """What ``plan-sizes --json`` prints; TUNEFORK_CAPTURE_PLAN takes a file of it."""
        return {
            "sizes": list(self.sizes),
            "compile_sizes": list(self.compile_sizes),
            "expected_waste": self.expected.rows,
            "default_waste": self.default.rows,
            "guide_waste": self.guide.rows,
            "graphs": len(self.sizes),
            "decode_rows": self.decode_rows,
            "plan": asdict(self.expected),
            "default": asdict(self.default),
            "guide": asdict(self.guide),
            "notes": list(self.notes),
            "workload": self.workload,
            "cost": self.cost,
        }

    def as_yaml(self) -> str:
        """A file for ``vllm serve --config``. The value is JSON in a string, as the flag on a command line is."""
        config = {
            "cudagraph_capture_sizes": list(self.sizes),
            "max_cudagraph_capture_size": self.sizes[-1],
            "compile_sizes": list(self.compile_sizes),
        }
        said = "".join(f"# {line}\n" for line in (*self.notes, self.workload, self.cost))
        return f"{said}compilation-config: '{json.dumps(config)}'\n"


def make_plan(options: Options) -> Plan:
    """Solve and judge. Raises OverrideError for options that no server could run, or sizes that vLLM would reject."""
    problem = options.problem()
    if isinstance(problem.cost, TableModel):
        problem.cost.require(problem.required(), [rows for rows, steps in problem.workload.mixed.items() if steps])
    found = solve(problem)
    settled = settle(found.sizes, options.limits, maximum=found.sizes[-1])
    check_compile_sizes(found.compile_sizes, settled)
    default = settle(default_sizes(options.limits), options.limits)
    return Plan(
        found.sizes,
        found.compile_sizes,
        waste(settled, problem.workload, problem.cost),
        waste(default, problem.workload, problem.cost),
        waste(settle(guide_sizes(), options.limits), problem.workload, problem.cost),
        (*settled.notes, *prefill_notes(settled, default, problem)),
        problem.workload.source,
        problem.cost.source,
        options.limits.decode_rows,
    )


def prefill_notes(settled: Settled, default: Settled, problem: Problem) -> tuple[str, ...]:
    """What a plan does to steps with prefill, and what graphs for prefill do to decode steps that it was not made for."""
    last, top, limit = settled.piecewise[-1], default.piecewise[-1], problem.limits.decode_rows
    found = []
    if not problem.cost.eager_seconds and any(steps and last < rows <= top for rows, steps in problem.workload.mixed.items()):
        found.append(f"steps with prefill of {last + 1} to {top} rows have no graph here, but in vLLM's list: a --cost table with eager_seconds prices them")
    widest = above(settled.piecewise, problem.required()) or last
    if widest < min(last, limit):
        found.append(f"decode steps of {widest + 1} to {min(last, limit)} rows, which this workload has not, would be padded to the graphs for prefill "
                     f"from {above(settled.piecewise, widest + 1)} rows on: --cover, or a smaller --max-num-seqs")  # fmt: skip
    return tuple(found)


@dataclass(frozen=True)
class StoredPlan:
    """What a server takes from a file of ``Plan.as_json``."""

    sizes: tuple[int, ...]
    compile_sizes: tuple[int, ...]
    notes: tuple[str, ...]


def read_plan(path: Path, limits: Limits) -> StoredPlan:
    """The plan in a file, checked against the server that is to use it.

    Raises:
        OverrideError: no such file, no plan in it, or a plan made for other limits.
    """
    try:
        found = jsons.loads(path.read_text())
        sizes = numbers(found["sizes"])
        compiled = numbers(found.get("compile_sizes", []))
        (decoded,) = numbers([found.get("decode_rows", max(sizes))])
        notes = tuple(str(note) for note in found.get("notes", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OverrideError(f"{path} is no capture plan ({error})", f"build.py plan-sizes --conc 4,8,16 --json > {quote(str(path))}") from None
    settled = settle(sizes, limits)
    wanted = tuple(sorted(set(sizes)))
    if settled.piecewise != wanted or settled.full != tuple(size for size in wanted if size <= decoded):
        other = [f"decode steps of up to {decoded} rows, here up to {limits.decode_rows}"] if "decode_rows" in found else []
        raise OverrideError(
            f"{path} was made for another server: {'; '.join([*other, *settled.notes])}",
            "plan-sizes with this server's --max-num-seqs, --max-num-batched-tokens and --num-speculative-tokens",
        )
    check_compile_sizes(compiled, settled)
    return StoredPlan(settled.piecewise, compiled, notes)


def numbers(found: Any) -> tuple[int, ...]:
    """A list of whole numbers of 1 or more, as JSON has it; ValueError for anything else."""
    if not isinstance(found, list) or not all(type(one) is int and one > 0 for one in found):
        raise ValueError(f"expected a list of sizes of 1 or more, found {json.dumps(found)}")
    return tuple(found)
