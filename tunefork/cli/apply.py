"""`apply`: fetch the pinned upstreams and apply their series."""

from __future__ import annotations

import time
from pathlib import Path

import click

from tunefork.base.errors import BadInput, SourceError
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import aside, echo, print_json, say
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout.apply import Applied
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import FORMS
from tunefork.patchset.sources import pins

NEEDED_BY_EVERY_TARGET = "vllm"
ASK_AGAIN_AFTER = 3600  # seconds for which an upstream that did not answer is left out without asking the network


@click.command(epilog="Exit codes: 3 your work would be overwritten, 4 a source fails, 7 a patch conflicts, 8 the lock is violated.")
@options.upstreams()
@options.variant(f"Which patches: {FORMS}.", "spec", default="all", show_default=True)
@click.option("--beside", is_flag=True, help="Keep the checkout as it is; put the variant into work/<upstream>@<variant>.")
@click.option("--discard", is_flag=True, help="Give up uncommitted and unexported work, keeping it under a backup ref.")
@options.go_on("A parked patch is resolved: take it and go on.")
@options.abort("Drop a parked patch's worktree; the patch files stay as they are.")
@click.option("--pin", metavar="NAME", help="Try the series on an alternative pin of pins.toml and say what becomes of each patch; nothing is moved.")
@options.as_json()
def apply(
    upstreams: tuple[str, ...], spec: str, beside: bool, discard: bool, go_on: bool, abort: bool, pin: str | None, as_json: bool
) -> int:
    """Fetch the pinned upstreams and apply their patch series to work/<upstream>.

    Without UPSTREAM: all of pins.toml. AITER is left out, in one line, where its source cannot be reached: the cpu target does not
    need it. Nothing of yours is overwritten: uncommitted, untracked or unexported work makes apply stop and say how to keep it.

    \b
    python3 build.py apply                            every patch
    python3 build.py apply --variant base             the unpatched pin
    python3 build.py apply vllm --variant without:tuned-gemm-first --beside
    python3 build.py apply aiter --pin v0.1.26        exit 1 where a patch conflicts there
    """
    layout = Layout.here()
    if pin is not None:
        if len(upstreams) != 1 or go_on or abort or beside or discard or spec != "all":
            raise BadInput("--pin goes with one upstream and takes no other option than --json", f"python3 build.py apply aiter --pin {pin}")
        return tried(layout, upstreams[0], pin, as_json=as_json)
    if go_on or abort:
        if (go_on and abort) or beside or discard or spec != "all":
            raise BadInput("--continue and --abort exclude each other, and take no other option than --json",
                           "`python3 build.py apply --continue` takes the resolved patch; `python3 build.py apply --abort` drops it")
        settle_parked(layout, upstreams, abort=abort, as_json=as_json)
        return 0
    results = [apply_one(layout, name, spec, named=bool(upstreams), beside=beside, discard=discard)
               for name in upstreams or pins.load(layout)]  # fmt: skip
    show(results, as_json=as_json)
    return 0


def tried(layout: Layout, upstream: str, name: str, *, as_json: bool) -> int:
    """--pin: the series on an alternative pin, for the report alone."""
    from tunefork.cli import rebase
    from tunefork.patchset.rebase import alternative

    found, done = alternative.tried(layout, upstream, name, say=say)
    if as_json:
        print_json({"pin": found, "tried": done})
    else:
        rebase.show(done, diffs=False)
        aside(f"  {name}: {found.state}; {found.why}")
        aside(f"  next: python3 build.py rebase {upstream} --to {found.tag}" + (", which stops at each conflict" if done.conflicts else ""))
    return 1 if done.conflicts else 0


def apply_one(layout: Layout, upstream: str, spec: str, *, named: bool, beside: bool, discard: bool) -> Applied:
    """Apply one upstream; one that nobody named and that no source gives is left out."""
    wanted = spec if named else spec_for(layout, upstream, spec)
    optional = not named and upstream != NEEDED_BY_EVERY_TARGET
    silent = layout.cache / "unreachable" / upstream
    if optional and not layout.checkout(upstream).exists() and recently(silent):
        return leave_out(layout, upstream, wanted, f"no source answered lately; `python3 build.py apply {upstream}` asks again")
    try:
        return applying.apply(layout, upstream, wanted, beside=beside, discard=discard, say=say)
    except SourceError as error:
        if not optional:
            raise
        silent.parent.mkdir(parents=True, exist_ok=True)
        silent.touch()
        reasons = [line.strip() for line in error.message.splitlines()]
        return leave_out(layout, upstream, wanted, "; ".join(reasons[1:] or reasons))


def recently(stamp: Path) -> bool:
    return stamp.is_file() and time.time() - stamp.stat().st_mtime < ASK_AGAIN_AFTER


def leave_out(layout: Layout, upstream: str, spec: str, why: str) -> Applied:
    say(f"{upstream}: left out ({why}); the cpu target does not need it")
    return applying.left_out(layout, upstream, spec, why)


def spec_for(layout: Layout, upstream: str, spec: str) -> str:
    """The variant of an upstream that a spec naming another upstream's patch means: nothing for only:, everything for the rest."""
    kind, _, rest = spec.partition(":")
    if not rest:
        return spec
    owners = [name for name in pins.load(layout)
              if set(rest.replace(".patch", "").split(",")) <= set(Series.load(name, layout.series_dir(name)).names)]  # fmt: skip
    if not owners or upstream in owners:
        return spec
    return "base" if kind == "only" else "all"


def settle_parked(layout: Layout, upstreams: tuple[str, ...], *, abort: bool, as_json: bool) -> None:
    """--continue and --abort."""
    from tunefork.patchset.checkout import park

    waiting = [name for name in upstreams or pins.load(layout) if park.find(layout, name)]
    if not waiting:
        raise BadInput("no patch is parked", "python3 build.py status")
    if abort:
        refs = {name: park.abort(layout, name, say=say) for name in waiting}
        if as_json:
            print_json({"upstreams": [{"upstream": name, "aborted": True, "backup": ref} for name, ref in refs.items()]})
        return
    show([park.go_on(layout, name, say=say) for name in waiting], as_json=as_json)


def show(results: list[Applied], *, as_json: bool) -> None:
    """One line per upstream, or the JSON object."""
    if as_json:
        print_json({"upstreams": results})
        return
    for each in results:
        if each.source is None:
            continue
        counts = {state: sum(patch.state == state for patch in each.patches) for state in ("applied", "kept", "left out")}
        patches = ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "no patches"
        files = f"{each.changed} files changed" if each.changed else "nothing to do"
        echo(f"{each.name} {each.variant}: {patches}; {files}; tree {(each.tree or '')[:12]} ({each.source}) in {each.seconds:.2f} s")
        if each.carried:
            from tunefork.patchset.checkout import work

            say(f"{each.name}: uncommitted changes came along, which {each.variant} has not: {work.few(each.carried)}")
