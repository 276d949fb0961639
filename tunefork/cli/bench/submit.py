"""`bench submit`: send measured results to the leaderboard."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.typed import typed
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store, default_store
from tunefork.cli import options
from tunefork.cli.output import print_json, say

NO_TEAM = "(no --team yet)"


@click.command(epilog="Exit codes: 0 the leaderboard took everything; 14 something may not be sent; 15 it did not take something; 16 it is "
                      "not known whether it did (the same command asks again); 17 a record is damaged.")
@click.argument("what", nargs=-1, required=True, metavar="BATCH|RECORD...")
@options.team(envvar="TEAM_NAME_ENV", show_envvar=True)
@options.dry_run("Check, show what would be sent, send nothing.")
@options.yes("Do not ask.")
@options.no_baseline("Also what has no baseline, with empty ratios.")
@options.all_or_nothing("Refuse where a configuration did not pass or has no baseline.")
@click.option("--again", is_flag=True, help="Send although it is not known whether an earlier attempt arrived.")
@click.option("--max-age", type=click.FloatRange(min=0), default=24.0, show_default=True, metavar="HOURS", help="Of a measurement.")
@options.leaderboard("Instead of the profile's leaderboard.", envvar="LB_URL_OVERRIDE", show_envvar=True)
@options.isl("", hidden=True)
@options.osl("", hidden=True)
@options.as_json()
def submit(what: tuple[str, ...], isl: int | None, osl: int | None, team: str | None, dry_run: bool, yes: bool, no_baseline: bool, all_or_nothing: bool,
           again: bool, max_age: float, url: str | None, as_json: bool) -> int:
    """Submit the passed configurations of batches, or single records.

    Everything is checked before anything is sent: the gate passed, no request failed, there is a baseline, the record is recent and of
    the installed tree. What did not pass or has no baseline is left out, with a line. The leaderboard's answer is followed to its end and
    kept beside the record; what was taken is never sent again.

    \b
    python3 build.py bench submit work/bench/batch_isl1024_osl1024_20261122_101500 --dry-run
    """
    from tunefork.bench.profiles import rules as profile_rules
    from tunefork.bench.run import settings as configure
    from tunefork.bench.run.settings import Settings

    if isl is not None or osl is not None:  # the guide's `submit "Team" -isl 1024 -osl 1024`, which measures first
        lengths = "".join(f" -{name} {value}" for name, value in (("isl", isl), ("osl", osl)) if value is not None)
        raise BadInput("`bench submit` sends what was measured; input and output tokens are of a run, which measures",
                       f"python3 build.py bench run --profile seed submit {typed(what[0])}{lengths}")
    if team is None and not dry_run:
        raise BadInput("to submit, a team is needed", "--team NAME, or export TEAM_NAME_ENV=NAME")
    layout = Layout.here()
    store = default_store(layout)
    found = [record for word in what for record in records(store, word, all_or_nothing=all_or_nothing)]
    names = {record.profile for record, _path in found}
    if len(names) != 1:
        raise BadInput(f"these are of several profiles: {', '.join(sorted(names))}", "submit one profile's results at a time")
    path = next((path for _record, path in found if path), None) or found[0][0].profile
    rules = profile_rules.load(configure.profile(Settings(profile=path)))
    sent = send(layout, store, rules, [record for record, _path in found], team or NO_TEAM, yes=yes, no_baseline=no_baseline,
                all_or_nothing=all_or_nothing, url=url, fresh=timedelta(hours=max_age), dry_run=dry_run, again=again)
    if as_json:
        print_json({"submissions": sent})
    return grave(sent)


def records(store: Store, word: str, *, all_or_nothing: bool = False) -> list[tuple[Record, str | None]]:
    """The records that a batch directory or an id names, with the profile's name or path where it is known."""
    from tunefork.bench.run.batch import STATE, Batch

    if not (Path(word) / STATE).is_file():
        return [(store.verify(word), None)]
    batch = Batch.load(Path(word))
    good = [(entry.record, entry.conc) for entry in batch.state.entries if entry.record and entry.status == "passed"]
    bad = [entry for entry in batch.state.entries if entry.conc not in {conc for _record, conc in good}]
    if bad and (all_or_nothing or not good):
        raise BadInput(f"{word}: CONC {bad[0].conc} {bad[0].status}: {bad[0].problem or 'it has not been measured'}",
                       f"python3 build.py bench run --resume {typed(word)}")
    for entry in bad:
        say(f"CONC {entry.conc} is left out, it is {entry.status}: {entry.problem or 'it has not been measured'}")
    return [(store.verify(record), batch.state.settings.profile) for record, _conc in good]


def send(layout: Layout, store: Store, rules: Rules, found: Sequence[Record], team: str, *, yes: bool, no_baseline: bool, all_or_nothing: bool,
         url: str | None, fresh: timedelta, dry_run: bool, again: bool) -> list[dict[str, Any]]:
    """Check all, show, ask, send one by one; what became of each.

    One without a baseline among others is left out with a line; where there is no other it is refused.
    """
    from tunefork.bench.submit.submit import prepare, without_baseline
    from tunefork.bench.submit.submit import submit as submit_one
    from tunefork.patchset.checkout.applied import applied_tree

    installed = applied_tree(layout, "vllm")
    prepared = []
    left = [] if no_baseline or all_or_nothing else [record for record in found if without_baseline(record, rules)]
    if len(left) == len(found):
        left = []
    for record in left:
        load = record.scenario
        say(f"ISL {load.isl} OSL {load.osl} CONC {load.conc} is left out: no baseline was published for it (--no-baseline sends it with empty ratios)")
    for record in (each for each in found if each not in left):
        # A variant beside the primary checkout is as installed as that one, while its tree is the one measured.
        beside = applied_tree(layout, "vllm", record.vllm.variant) if record.vllm else None
        now = beside or installed
        tree = now.tree if record.vllm and now else None
        prepared.append(prepare(record, rules, team, tree=tree, url=url, no_baseline=no_baseline, fresh=fresh))
    for one in prepared:
        say(f"{'would go' if dry_run else 'goes'} to {one.url}:")
        for name, value in zip(one.fields, one.data, strict=True):
            say(f"  {name:<24} {'(none)' if value is None else value}")
    if dry_run:
        return [{"record": one.record.id, "state": "not sent (dry run)", "url": one.url, "data": list(one.data)} for one in prepared]
    if not yes:
        confirm(len(prepared))
    outcomes: list[dict[str, Any]] = []
    for one in prepared:
        try:
            done = submit_one(store, one, again=again)
            outcomes.append({"record": one.record.id, "state": done.state, "url": done.url, "answer": done.answer, "code": 0})
            say(f"CONC {one.record.scenario.conc}: the leaderboard took it: {done.answer}")
        except TuneforkError as error:
            outcomes.append({"record": one.record.id, "state": type(error).__name__, "url": one.url, "answer": error.message,
                             "code": error.code})
            say(f"CONC {one.record.scenario.conc}: {error.message}" + (f"\n  try: {error.remedy}" if error.remedy else ""))
    return outcomes


def confirm(count: int) -> None:
    """Ask, where there is somebody to ask."""
    if not sys.stdin.isatty():
        raise BadInput("nobody is here to say yes", "--yes submits without asking; --dry-run only shows")
    if not click.confirm(f"Submit {count} result{'s' if count > 1 else ''}?", err=True):
        raise click.exceptions.Abort


def grave(outcomes: Sequence[dict[str, Any]]) -> int:
    """The exit code of the gravest outcome: unknown before failed before refused."""
    return max((int(one.get("code", 0)) for one in outcomes), default=0)
