"""Compare AITER's A16W4 kernel with each of our patches and without: ``python -m studies.a16w4 [--checkout DIR] [--write DOC]``.

Per patch, its commit against the one before it; then the pin against the whole series. Takes some fifteen minutes on two cores. ``--write``
puts the tables between the marks of a Markdown file. Ends with 1 if an executed result is wrong.

    | case | tile (rows x columns, waves, stages, K parts) | work-groups | ... | executed |
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from studies.a16w4.case import Case
from studies.a16w4.plan import COMPILED, EXECUTED, PATCHES, WHOLE
from studies.a16w4.sides import Job, Result, run_at
from tunefork.base.layout import Layout
from tunefork.patchset.git import Git
from tunefork.patchset.series.mail import read

TOLERANCE = 0.04
"""Of an executed result: largest difference from fp32 over its root mean square. bf16 keeps 8 bits, and the largest of some
thousand normal values is four times the root mean square: 4 * 2^-8 = 0.016 for one rounding; the scattered sum has several."""
MARKS = "<!-- tables: python -m studies.a16w4 -->", "<!-- end of tables -->"
HEAD = (
    "| case | tile: rows x columns, waves, stages, K parts | work-groups | VGPRs | spills | waves/SIMD | barriers | cycles per MFMA, modelled |\n"
    "|---|---|---|---|---|---|---|---|"
)
RAN = "| executed | unpatched | patched | values | X bytes | W bytes, distinct | wave instructions |\n|---|---|---|---|---|---|---|"


def commits(checkout: Path) -> dict[str, str]:
    """Patch name -> its commit in the checkout, by the subject."""
    git = Git(checkout)
    lines = git("log", "-100", "--format=%H %s").decode().splitlines()
    subjects = {line.partition(" ")[2]: line.partition(" ")[0] for line in reversed(lines)}
    folder = Layout.here().series_dir("aiter")
    wanted = {name: read(name, (folder / f"{name}.patch").read_bytes()).subject for name in PATCHES}
    missing = [name for name, subject in wanted.items() if subject not in subjects]
    if missing:
        sys.exit(f"error: {checkout} does not hold {', '.join(missing)}\n  try: python3 build.py apply aiter")
    return {name: subjects[subject] for name, subject in wanted.items()}


def change(old: object, new: object) -> str:
    return f"{new}" if old == new else f"{old} -> {new}"


def tile(result: Result) -> str:
    at = result.config
    depth = f", {at['split_k']} parts" if at["split_k"] > 1 else ""
    return f"{at['block_m']}x{at['block_n']}, {at['num_warps']}, {at['num_stages']}{depth}"


def compiled_row(case: Case, old: Result, new: Result) -> str:
    """One row: what the launcher picked and what the machine code shows, old -> new."""

    def of(pick: Callable[[Result], object]) -> str:
        return change(pick(old), pick(new))

    names = ("vgpr", "spills", "waves", "barrier", "cycles_each")
    cells = [case.label, of(tile), of(lambda side: side.config["grid"])]
    cells += [of(lambda side, name=name: side.facts[name]) for name in names]  # type: ignore[misc]
    return f"| {' | '.join(cells)} |"


def verdict(result: Result) -> str:
    """What an execution came to: its error, or why there is none."""
    if result.fault:
        return "reads out of bounds" if "no registered buffer" in result.fault else result.fault
    return f"error {result.error:.4f}" if result.error <= TOLERANCE else f"WRONG, error {result.error:.2f}"


def executed_row(case: Case, old: Result, new: Result) -> str:
    """One row: whether both sides compute the case, whether their values agree, and what they moved ("-": it did not run to the end)."""
    if old.y is None or new.y is None:
        same = "-"
    elif bool((old.y == new.y).all()):
        same = "equal, bit for bit"
    else:
        same = f"{float((old.y == new.y).float().mean()):.2%} equal"
    moved = [change(*("-" if side.y is None else getattr(side, name) for side in (old, new))) for name in ("x_bytes", "w_unique", "executed")]
    return f"| {' | '.join([case.label, verdict(old), verdict(new), same, *moved])} |"


def compare(checkout: Path, before: str, after: str, compiled: Sequence[Case], executed: Sequence[Case]) -> tuple[list[str], bool]:
    """Both tables of two commits as lines, and whether every executed result of ``after`` is right."""
    jobs = [*(Job(case) for case in compiled), *(Job(case, execute=True) for case in executed)]
    old, new = run_at(checkout, before, jobs), run_at(checkout, after, jobs)
    rows = list(zip(jobs, old, new, strict=True))
    lines = [HEAD, *(compiled_row(job.case, a, b) for job, a, b in rows if not job.execute)]
    if executed:
        lines += ["", RAN, *(executed_row(job.case, a, b) for job, a, b in rows if job.execute)]
    return lines, all(not b.fault and b.error <= TOLERANCE for job, _, b in rows if job.execute)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=Layout.here().checkout("aiter"))
    parser.add_argument("--write", type=Path, help="a Markdown file with the marks")
    options = parser.parse_args()
    at = commits(options.checkout)
    lines: list[str] = []
    good = True
    for name in PATCHES:
        print(name, file=sys.stderr, flush=True)
        table, right = compare(options.checkout, f"{at[name]}^", at[name], COMPILED[name], EXECUTED[name])
        lines, good = [*lines, f"### {name}", "", *table, ""], good and right
    print("the whole series", file=sys.stderr, flush=True)
    executed = [*EXECUTED["a16w4-split-k"], *EXECUTED["a16w4-tiles"]]
    table, right = compare(options.checkout, f"{at[PATCHES[0]]}^", at[PATCHES[-1]], WHOLE, executed)
    text = "\n".join([*lines, "### The pin against the whole series", "", *table])
    if options.write:
        head, _, rest = options.write.read_text().partition(MARKS[0])
        options.write.write_text(f"{head}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")
    else:
        print(text)
    return 0 if good and right else 1


if __name__ == "__main__":
    sys.exit(main())
