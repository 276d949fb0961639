"""AITER's A16W4 kernel as vLLM 0.33.0 calls it with our patches, at TP 1, 2, 4, 8: ``python -m studies.a16w4.live [--write DOC]``.

One table: each call's facts on the pin and after each patch of the series, in order ("=" where a patch changes nothing). A second one: what
the sizes without padding change on the whole series. Then each TP size executed through vLLM's classes (tests/patches/a16w4_live.py), on the pin and
on the series. Takes some ten minutes on two cores. ``--write`` puts them between the marks of a Markdown file.

    | call | pin | `a16w4-split-k-tail` | ... |
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from studies.a16w4.__main__ import TOLERANCE, commits
from studies.a16w4.case import SWIZZLED, Case
from studies.a16w4.plan import HIDDEN, INTERMEDIATE, PATCHES
from studies.a16w4.sides import ROOT, Job, Result, run_at
from studies.a16w4.tree import extract
from tunefork.base.layout import Layout

MARKS = "<!-- live: python -m studies.a16w4.live -->", "<!-- end of live -->"
BLOCK = 32
TP = (1, 2, 4, 8)
TOKENS = (1, 4, 32, 1024, 8192)
PROGRAM = ROOT / "tests/patches/a16w4_live.py"


def live(tp: int) -> int:
    """Intermediate channels of a rank: GPT-OSS's loader cuts whole scale blocks."""
    return -(-INTERMEDIATE // BLOCK // tp) * BLOCK


def calls(tp: int, tokens: int) -> tuple[Case, Case]:
    """Both GEMMs of a step: scales swizzled up to TP2, plain and contiguous along N from TP4 on."""
    swizzle, n_major = (SWIZZLED, False) if tp <= 2 else (None, True)
    first = Case(tokens, 2 * live(tp), HIDDEN, gate_up=True, swizzle=swizzle, pad=True, n_major=n_major)
    return first, replace(first, n=HIDDEN, k=live(tp), gate_up=False)


def cell(result: Result) -> str:
    """Work-groups x tile, waves and stages (and parts of K), registers (and spills), waves per SIMD, cycles per MFMA."""
    at, facts = result.config, result.facts
    parts = f", {at['split_k']} parts" if at["split_k"] > 1 else ""
    spills = f", {facts['spills']} spilled" if facts["spills"] else ""
    tile = f"{at['grid']} x {at['block_m']}x{at['block_n']}, {at['num_warps']}w {at['num_stages']}s{parts}"
    return f"{tile}; {facts['vgpr']} VGPRs{spills}; {facts['waves']}/SIMD; {facts['cycles_each']}"


def label(tp: int, case: Case) -> str:
    return f"TP{tp} {'gate-up' if case.gate_up else 'down'} {case.n} x {case.k}, M={case.tokens}"


def per_patch(checkout: Path, at: dict[str, str]) -> list[str]:
    """The table of calls by patches."""
    cases = [(tp, case) for tp in TP for tokens in TOKENS for case in calls(tp, tokens)]
    jobs = [Job(case) for _, case in cases]
    columns = []
    for commit in (f"{at[PATCHES[0]]}^", *(at[name] for name in PATCHES)):
        print(commit, file=sys.stderr, flush=True)
        columns.append([cell(result) for result in run_at(checkout, commit, jobs)])
    lines = [f"| call | pin | {' | '.join(f'`{name}`' for name in PATCHES)} |", f"|---|{'---|' * len(columns)}"]
    for row, (tp, case) in enumerate(cases):
        cells = [columns[0][row], *("=" if new[row] == old[row] else new[row] for old, new in itertools.pairwise(columns))]
        lines.append(f"| {label(tp, case)} | {' | '.join(cells)} |")
    return lines


def sizes(checkout: Path, at: dict[str, str]) -> list[str]:
    """What the sizes without padding change, on the pin and on the series."""
    cases = [(tp, case) for tp in TP for tokens in (4, 1024) for case in calls(tp, tokens)]
    jobs = [Job(replace(case, told=told)) for _, case in cases for told in (False, True)]
    pin, series = (run_at(checkout, commit, jobs) for commit in (f"{at[PATCHES[0]]}^", at[PATCHES[-1]]))
    lines = ["| call | pin, not told | pin, told | series, not told | series, told |", "|---|---|---|---|---|"]
    for row, (tp, case) in enumerate(cases):
        four = [cell(side[2 * row + told]) for side in (pin, series) for told in (0, 1)]
        told = ["=" if four[place] == four[place - 1] else four[place] for place in (1, 3)]
        lines.append(f"| {label(tp, case)} | {four[0]} | {told[0]} | {four[2]} | {told[1]} |")
    return lines


def executed(vllm: Path, checkout: Path, at: dict[str, str]) -> tuple[list[str], bool]:
    """Each TP size through vLLM's classes, and whether all are right."""
    found = {}
    for side, commit in (("pin", f"{at[PATCHES[0]]}^"), ("series", at[PATCHES[-1]])):
        with tempfile.TemporaryDirectory() as folder:
            tree = extract(checkout, commit, Path(folder))
            done = subprocess.run([sys.executable, "-P", PROGRAM, vllm, tree, "--execute"], capture_output=True, text=True, check=False, cwd="/")
            if done.returncode:
                sys.exit(f"error: {PROGRAM.name} failed: {done.stderr[-2000:]}")
            found[side] = json.loads(done.stdout)
    lines = ["| executed layer | scales | N, K of the first GEMM, of the second | error on the pin | on the series |", "|---|---|---|---|---|"]
    for tp in TP:
        first, second = found["series"][str(tp)]["calls"]
        told = f"{first['unpadded_N']}, {first['unpadded_K']}; {second['unpadded_N']}, {second['unpadded_K']}"
        errors = [f"{found[side][str(tp)]['error']:.4f}" for side in ("pin", "series")]
        lines.append(f"| TP{tp} | {'swizzled' if first['swizzle_mx_scale'] else 'plain, along N'} | {told} | {' | '.join(errors)} |")
    return lines, all(found["series"][str(tp)]["error"] <= TOLERANCE for tp in TP)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=Layout.here().checkout("aiter"))
    parser.add_argument("--vllm", type=Path, default=Layout.here().checkout("vllm"))
    parser.add_argument("--write", type=Path, help="a Markdown file with the marks")
    options = parser.parse_args()
    at = commits(options.checkout)
    ran, good = executed(options.vllm, options.checkout, at)
    text = "\n".join([*ran, "", *sizes(options.checkout, at), "", *per_patch(options.checkout, at)])
    if options.write:
        head, _, rest = options.write.read_text().partition(MARKS[0])
        options.write.write_text(f"{head}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")
    else:
        print(text)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
