"""Tune one problem (a rank's intermediate size, a number of tokens) into a journal: timed on the GPU at hand, or estimated for gfx950 without one.

    python -m tunefork.bench.kernels.tune_problem gfx950 360 16 i360-m16.jsonl --static

A process of its own for each problem, so that bench/machine/spread.py can start it on any GPU of any host. Started again it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput, MissingTool, TuneforkError, first_line
from tunefork.bench.kernels.journal import Journal
from tunefork.bench.kernels.static import WaveCost, estimate, shape_of
from tunefork.bench.kernels.tune import Candidate, best_layers, candidates
from tunefork.kernels.arch import GFX950
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, Row

CHOSEN = "chosen"
MEASURED_TO = 4096  # a bucket above it is timed here


def about(arch: str, intermediate: int, tokens: int, static: bool) -> dict[str, Any]:
    """What a journal's results hold for."""
    import triton

    told = {"arch": arch, "intermediate": intermediate, "tokens": tokens, "triton": triton.__version__}
    if static:
        return {**told, "how": "modelled", "chip": f"{GFX950.name} (none here)"}
    import torch

    return {**told, "how": "measured", "chip": torch.cuda.get_device_name(), "torch": torch.__version__}


def key_of(candidate: Candidate) -> str:
    return json.dumps(asdict(candidate), sort_keys=True)


def candidate_of(key: str) -> Candidate:
    data = json.loads(key)
    return Candidate(data["order"], data["part"], GemmConfig(**data["gemm"]))


def estimate_one(candidate: Candidate, intermediate: int, tokens: int, tool: Path) -> dict[str, Any]:
    """-> {"us", ...} of one GEMM compiled for gfx950, or {"refused": why}. Modelled, never measured."""
    from tunefork.kernels.amdgcn.assembly import parse
    from tunefork.kernels.amdgcn.compile import compile_all
    from tunefork.kernels.amdgcn.errors import CompileFailed
    from tunefork.kernels.amdgcn.facts import facts_of
    from tunefork.kernels.amdgcn.model import main_part
    from tunefork.kernels.amdgcn.silent import code_faults, option_faults
    from tunefork.kernels.registry import entries

    shape = shape_of(intermediate)
    row = Row(intermediate, tokens, candidate.layer(shape.topk), "")
    entry = next(entry for entry in entries(GFX950.name, (row,)) if entry.fn.__name__.startswith(candidate.part))
    (code,) = compile_all([entry], workers=1)
    if isinstance(code, CompileFailed):
        return {"refused": code.message[:200]}
    facts = facts_of(code)
    if silent := option_faults(entry.options) + code_faults(code, sum(facts.mfma.values())):
        return {"refused": silent[0]}
    if facts.spills or facts.scratch:
        return {"refused": f"{facts.spills} spills, {facts.scratch} bytes of scratch"}
    part = main_part(parse(code.text), entry.arguments, entry.weights, entry.trips, tool)
    us = estimate(WaveCost(part.cycles, part.busy, facts.occupancy), candidate.order, candidate.part, candidate.gemm, shape, tokens)
    return {"us": us, "vgprs": facts.vgprs, "occupancy": facts.occupancy, "wave_cycles": part.cycles, "wave_busy": part.busy,
            "loop_cycles_per_kib": part.loop}


def estimate_all(journal: Journal, arch: str, intermediate: int, tokens: int) -> None:
    from tunefork.kernels.amdgcn.model import absent, find_tool

    if arch != GFX950.name:
        raise BadInput("only gfx950 can be estimated without a GPU", "run this on the GPU to tune for")
    tool = find_tool()
    if tool is None:
        raise MissingTool(absent(), "install it, or run this on the GPU to tune for")
    for candidate in candidates(arch, shape_of(intermediate), tokens):
        key = key_of(candidate)
        if key not in journal.rows:
            journal.append(key, estimate_one(candidate, intermediate, tokens, tool))


def by_candidate(rows: Mapping[str, Mapping[str, Any]]) -> dict[Candidate, float]:
    """Microseconds of the candidates that a journal has."""
    return {candidate_of(key): row["us"] for key, row in rows.items() if key.startswith("{") and "part" in json.loads(key) and "us" in row}


def choose_modelled(journal: Journal, arch: str, intermediate: int, tokens: int) -> None:
    """The pair of GEMMs with the least modelled sum; the reduction is fused where that is legal (three launches, as the H200's tuning chose)."""
    taken = by_candidate(journal.rows)
    layers = best_layers(taken, shape_of(intermediate), tokens, arch, keep=1)
    if not layers:
        raise TuneforkError(f"no configuration of {arch} compiles for I={intermediate} M={tokens}", f"read {journal.path}")
    chosen = next((layer for layer in layers if layer.fused), layers[0])
    up, down = (taken[Candidate(chosen.order, part, getattr(chosen, part))] for part in ("up", "down"))
    source = (f"modelled: {up:.1f} + {down:.1f} us estimated for the GEMMs, best of {len(taken)} compiled by Triton {_triton()} on {_today()}; "
              "never measured on gfx950")
    journal.append(CHOSEN, {"config": asdict(chosen), "us": up + down, "source": source})


def require_device(candidate: Candidate) -> None:
    """TuneforkError where a candidate that failed has left a process whose every later launch fails: those would be refused for nothing."""
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        raise TuneforkError(f"{candidate} broke the GPU's context: {first_line(error)}",
                            "run the same command again: it goes on after this candidate") from None


def measure_all(journal: Journal, arch: str, intermediate: int, tokens: int) -> None:
    """Time every candidate, then the best whole layers; each result is written as it comes."""
    import torch

    from tunefork.bench.kernels import cases
    from tunefork.bench.kernels.timing import compare
    from tunefork.bench.kernels.tune import layer_calls, time_parts

    problem = cases.MoeProblem(cases.INTERMEDIATE // intermediate, min(tokens, MEASURED_TO))
    layers = cases.layers(cases.random_plain(problem.tp, "cuda"), problem.tp)

    def done(candidate: Candidate) -> bool:
        return key_of(candidate) in journal.rows

    for candidate, us in time_parts(problem, layers, arch, done):
        journal.append(key_of(candidate), {"us": us} if us is not None else {"refused": "it does not run; see the log"})
        if us is None:
            require_device(candidate)
    best = best_layers(by_candidate(journal.rows), shape_of(intermediate), tokens, arch)
    if not best:
        raise TuneforkError(f"no configuration of {arch} runs for I={intermediate} M={tokens}", f"read {journal.path}")
    timed = compare(layer_calls(problem, layers, best))
    for config, taken in zip(best, timed.values(), strict=True):
        journal.append(json.dumps(asdict(config), sort_keys=True), {"us": taken.us, "us_lo": taken.us_lo, "us_hi": taken.us_hi, "rounds": taken.rounds})
    winner, taken = min(zip(best, timed.values(), strict=True), key=lambda pair: pair[1].us)
    source = (f"measured: {torch.cuda.get_device_name()}, {_today()}, torch {torch.__version__}, Triton {_triton()}: {taken.us:.1f} us a layer "
              f"({taken.us_lo:.1f}-{taken.us_hi:.1f}) at M={problem.tokens}, best of {len(by_candidate(journal.rows))} GEMM configurations")
    journal.append(CHOSEN, {"config": asdict(winner), "us": taken.us, "source": source})


def layer_of(data: Mapping[str, Any]) -> LayerConfig:
    """A layer's configuration from its JSON."""
    return LayerConfig(**{**data, "up": GemmConfig(**data["up"]), "down": GemmConfig(**data["down"])})


def chosen_row(journal_rows: Mapping[str, Mapping[str, Any]], intermediate: int, tokens: int) -> Row | None:
    """The table row that a finished journal ends with."""
    found = journal_rows.get(CHOSEN)
    return Row(intermediate, tokens, layer_of(found["config"]), found["source"]) if found else None


def tune_problem(arch: str, intermediate: int, tokens: int, path: Path, *, static: bool) -> LayerConfig:
    """Go on with a problem's journal until it has a choice."""
    with Journal.open(path, about(arch, intermediate, tokens, static)) as journal:
        if CHOSEN not in journal.rows:
            if static:
                estimate_all(journal, arch, intermediate, tokens)
                choose_modelled(journal, arch, intermediate, tokens)
            else:
                measure_all(journal, arch, intermediate, tokens)
        row = chosen_row(journal.rows, intermediate, tokens)
    assert row is not None
    return row.config


def _triton() -> str:
    import triton

    return str(triton.__version__)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch")
    parser.add_argument("intermediate", type=int)
    parser.add_argument("tokens", type=int)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--static", action="store_true")
    given = parser.parse_args(words)
    try:
        config = tune_problem(given.arch, given.intermediate, given.tokens, given.journal, static=given.static)
    except TuneforkError as error:
        print(error.told, file=sys.stderr)
        return 1
    print(f"{given.journal.stem}: {config}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
