"""`bisect`: which patch of a series made a command fail, or slowed a benchmark."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from tunefork.base.errors import BadInput, TuneforkError, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.process import bound, no_survivor, terminated_by_exception
from tunefork.base.program import run_program
from tunefork.base.transaction import Transaction
from tunefork.cli import options
from tunefork.cli.output import aside, print_json, say, table
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import checkout
from tunefork.patchset.inspect import bisection
from tunefork.patchset.inspect.bisection import BAD, GOOD, SKIP, Bisected, Bisection, Verdict
from tunefork.patchset.rebase.rebase import digest
from tunefork.patchset.series.series import Series
from tunefork.patchset.sources.pins import pin_of

SKIP_CODE, STOP_CODE = 125, 128  # as in `git bisect run`
PLACE = "{variant}"


@click.command()
@click.argument("upstream")
@click.option("--run", "command", metavar="CMD", help="A shell command: 0 is good, 125 skips the variant, 1 to 127 is bad, 128 and more stops.")
@click.option("--ab", "profile", metavar="PROFILE", help="Instead of --run: `bench ab` of base against each variant; worse is bad, inconclusive is skipped.")
@click.option("--good", default="base", show_default=True, metavar="V", help="A prefix of the series with which it works.")
@click.option("--bad", default="all", show_default=True, metavar="V", help="A longer one with which it fails.")
@click.option("--subsets", is_flag=True, help="Then look for the fewest earlier patches with which the culprit still fails.")
@options.go_on("Go on with a bisection that was stopped; what was tried is not tried again.")
@click.option("--reset", is_flag=True, help="Forget a bisection that waits.")
@options.as_json()
def bisect(
    upstream: str, command: str | None, profile: str | None, good: str, bad: str, subsets: bool, go_on: bool, reset: bool, as_json: bool
) -> int:
    """Find the first patch of a series with which a command fails.

    CMD runs by bash in work/UPSTREAM, so its relative paths are the upstream's, with the variant applied and TUNEFORK_VARIANT set; afterwards
    the variant that was there is back. A CMD that says {variant} is given its name instead, nothing is applied for it, and it runs in this
    project's folder. `python` in CMD is the one of Tunefork's environment, which has the vLLM that develop installed.
    Exit 1 where skipped variants leave several candidates.

    \b
    python3 build.py bisect vllm --run "python -m pytest tests/x.py"
    python3 build.py bisect vllm --run 'python -c "import vllm"'
    python3 build.py bisect vllm --ab smoke --subsets
    """
    layout = Layout.here()
    pin_of(layout, upstream)
    file = Bisection.at(layout, upstream)
    if reset + go_on + bool(command) + bool(profile) != 1:
        raise BadInput("bisect needs one of --run, --ab, --continue and --reset", f'python3 build.py bisect {upstream} --run "<command>"')
    if reset:
        forget(layout, upstream, file)
        if as_json:
            print_json({"upstream": upstream, "reset": True})
        return 0
    series = Series.load(upstream, layout.series_dir(upstream))
    asked = {"command": command or f"bench ab of profile {profile}", "profile": profile, "good": good, "bad": bad, "subsets": subsets}
    journal = resumed(file, series) if go_on else begun(file, series, asked)
    try:
        with terminated_by_exception():  # a SIGTERM too brings back the variant that was there
            found = searched(layout, series, journal)
    except (BadInput, WorkAtRisk) as error:
        if not journal.verdicts:  # nothing was tried: a journal would only be in the way of the right command
            Transaction(file).end()
        if isinstance(error, WorkAtRisk):  # of apply, whose --discard a bisection does not have
            raise WorkAtRisk(error.message, re.sub(r"(,|;)? ?or add --discard\b.*", "", error.remedy)
                             + f"; or python3 build.py apply {upstream} --discard, which keeps a backup ref. Then this again") from None
        raise
    Transaction(file).end()
    show(found, as_json=as_json)
    return 0 if found.culprit else 1


def forget(layout: Layout, upstream: str, file: Path) -> None:
    """Forget a bisection that waits, and bring back the variant that the checkout held before it, where a kill left another."""
    try:
        journal = Bisection.load(file)
    except BadInput:  # a damaged one says nothing of that
        journal = None
    if journal is not None and (held := journal.asked.get("held")):
        applying.apply(layout, upstream, str(held), say=say)
    waited = Transaction(file).under_way
    Transaction(file).end()
    say(f"{upstream}: the bisection that waited is forgotten" if waited else f"{upstream}: no bisection waits")


def begun(file: Path, series: Series, asked: dict[str, Any]) -> Bisection:
    """A fresh journal, unless one waits."""
    if Bisection.load(file) is not None:
        raise BadInput(f"a bisection of {series.upstream} waits in {file}",
                       f"python3 build.py bisect {series.upstream} --continue; or --reset, which forgets what it found")  # fmt: skip
    journal = Bisection(file, digest(series), asked, [])
    journal.save()
    return journal


def resumed(file: Path, series: Series) -> Bisection:
    """The journal that waits, if the series is still the one it speaks of."""
    journal = Bisection.load(file)
    if journal is None:
        raise BadInput(f"no bisection of {series.upstream} waits", f'python3 build.py bisect {series.upstream} --run "<command>"')
    if journal.series != digest(series):
        raise BadInput(f"the series of {series.upstream} changed since the bisection began",
                       f"python3 build.py bisect {series.upstream} --reset, then begin again")  # fmt: skip
    return journal


def searched(layout: Layout, series: Series, journal: Bisection) -> Bisected:
    """Run the bisection, and bring back the variant that the checkout held whatever happens; after a kill, the one that it held before that."""
    asked, name = journal.asked, series.upstream
    profile, command = asked["profile"], str(asked["command"])
    moves = not profile and PLACE not in command
    state = checkout.primary(layout, name).state()
    asked["held"] = asked.get("held") or (state.variant if state else None)
    journal.save()
    try:
        return bisection.bisect(
            series, journal, lambda spec: judged(layout, spec, str(profile)) if profile else ran(layout, name, spec, command, move=moves),
            good=str(asked["good"]), bad=str(asked["bad"]), subsets=bool(asked["subsets"]), say=say,
        )  # fmt: skip
    finally:
        if moves and asked["held"]:
            applying.apply(layout, name, str(asked["held"]), say=say)
            asked["held"] = None
            journal.save()


def ran(layout: Layout, upstream: str, spec: str, command: str, *, move: bool) -> Verdict:
    """Apply a variant and run the command there; its output goes to a log. TuneforkError where it says to stop."""
    # The caller's `python` need not have torch or vLLM: build.py is started by any Python, and hands over to .venv's.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "TUNEFORK_VARIANT": spec}
    if move:
        tree = applying.apply_variant(layout, upstream, spec, say=say)
        environment[f"TUNEFORK_TREE_{upstream.upper()}"] = str(tree.path)
    log = layout.logs / "bisect" / f"{time.strftime('%Y%m%dT%H%M%S')}-{spec.replace(':', '-')[:80]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    words = ["bash", "-c", command.replace(PLACE, shlex.quote(spec))]
    done = run_program(words, env=environment, cwd=layout.checkout(upstream) if move else layout.root, log=log, deadline_s=float("inf"))
    code = done.exit_code
    if code is None or code < 0 or code >= STOP_CODE:
        raise TuneforkError(f"the command ended with {done.how if code is None else code} on {spec}, which stops the bisection; what it printed: {log}",
                            f"mend it, then python3 build.py bisect {upstream} --continue")  # fmt: skip
    verdict = GOOD if code == 0 else SKIP if code == SKIP_CODE else BAD
    return Verdict(spec, verdict, code, round(time.monotonic() - begin, 1), str(log))


def judged(layout: Layout, spec: str, profile: str) -> Verdict:
    """The verdict of `bench ab` of base against a variant."""
    if spec == "base":
        return Verdict(spec, GOOD, None, 0.0, why="it is what the others are compared with")
    begin = time.monotonic()
    words = [sys.executable, str(layout.root / "build.py"), "--no-venv", "bench", "ab", "--a", "base", "--b", spec, "--profile", profile, "--json"]
    with no_survivor(bound(words), cwd=layout.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        out, _ = child.communicate()
    return Verdict(spec, *of_outcome(child.returncode, out), round(time.monotonic() - begin, 1))


def of_outcome(code: int, out: bytes) -> tuple[str, int]:
    """(verdict, exit code) of a `bench ab --json`."""
    import json

    try:
        said = str(json.loads(out)["verdict"])
    except (ValueError, KeyError, TypeError):
        raise TuneforkError(f"bench ab ended with {code} and no verdict", "its message is above; mend it, then --continue") from None
    return {"worse": BAD, "better": GOOD, "no difference": GOOD}.get(said, SKIP), code


def show(found: Bisected, *, as_json: bool) -> None:
    """The culprit, and what was tried."""
    if as_json:
        print_json(found)
        return
    rows = [(each.variant, each.verdict, "" if each.code is None else str(each.code), f"{each.seconds:g} s", each.why or each.log) for each in found.verdicts]
    table(f"{found.upstream}: {len(rows)} variants", ("variant", "verdict", "exit", "took", "why / log"), rows)
    if found.culprit is None:
        aside(f"one of: {', '.join(found.candidates)} (the variants between were skipped)")
        return
    aside(f"{found.culprit} is the first patch with which it fails", bold=True)
    if found.needs is not None:
        aside(f"it takes {', '.join(found.needs)} beside it" if found.needs else "it fails alone")
