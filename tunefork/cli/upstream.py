"""`upstream`: a branch and the pull request's text for one patch; or where all of ours stand."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.base.typed import typed
from tunefork.base.visible import visible
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say, table
from tunefork.patchset.series.series import Series, patch_name
from tunefork.patchset.sources import pins
from tunefork.patchset.upstream import approval, submission
from tunefork.patchset.upstream.submission import Submission, message, standing


@click.command()
@click.argument("name", metavar="PATCH|status")
@click.option("--onto", metavar="BASE", help="The upstream's newer tree: a tag or branch, a version (0.33.0), or a path, as in rebase --to.")
@click.option("--of", metavar="UPSTREAM", help="With status: the upstream that --onto is a base of (default: vllm, or the only one).")
@click.option("--no-verify", is_flag=True, help="Do not run the patch's Verified-by commands on the branch; the text then says so.")
@options.yes("Run them without asking also where no commit of this repository holds them; it is kept that they were approved.")
@click.option("--deadline", type=click.FloatRange(min=1), default=submission.DEADLINE_S, show_default=True, metavar="SECONDS", help="Of each such command.")
@options.go_on("Take the resolved files of work/UPSTREAM@upstream-PATCH, and go on.")
@options.abort("Forget a conflict that waits there; what you did there stays under a backup ref.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where the text goes (default: work/upstream-PATCH.md).")
@options.as_json()
def upstream(
    name: str, onto: str | None, of: str | None, no_verify: bool, yes: bool, deadline: float, go_on: bool, abort: bool, out: Path | None, as_json: bool
) -> int:
    """Make the branch upstream/PATCH on the upstream's newer tree, run the patch's checks there, and write the pull request's text.

    The branch holds what PATCH declares to depend on and PATCH itself, in work/UPSTREAM@upstream-PATCH; a patch that conflicts waits there with
    markers. Nothing is pushed. Exit 1 where a check
    failed or could not run. `upstream status` lists what is submitted; with --onto also what is merged there, and what does not apply any more.

    \b
    python3 build.py upstream wvsplitkrc-strided --onto 0.33.0
    python3 build.py upstream status --onto 0.33.0
    """
    layout = Layout.here()
    if name == "status":
        return status(layout, onto or "", of, as_json=as_json)
    if go_on + abort + bool(onto) != 1:
        raise BadInput("upstream needs one of --onto (which tree the pull request is for), --continue and --abort",
                       f"python3 build.py upstream {name} --onto main")  # fmt: skip
    if abort:
        backup = submission.abort(layout, name, say=say)
        if as_json:
            print_json({"patch": patch_name(name), "aborted": True, "backup": backup})
        return 0
    if not no_verify:
        approved(layout, name, f"--onto {onto}" if onto else "--continue", yes=yes)
    verify = 0.0 if no_verify else deadline
    done = submission.submit(layout, name, onto, verify=verify, say=say) if onto else submission.go_on(layout, name, verify=verify, say=say)
    if done.path is None:
        say(f"{done.patch}: {done.onto} has it: {'; '.join(row.why for row in done.patches)}")
        if as_json:
            print_json({**vars(done), "text": ""})
        return 0
    file = out or layout.work / f"upstream-{done.patch}.md"
    said = text(layout, done)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(said, encoding="utf-8")
    if as_json:
        print_json({**vars(done), "text": said})
    else:
        show(done, file)
    return 0 if all(check.passed for check in done.checks) else 1


def approved(layout: Layout, name: str, how: str, *, yes: bool) -> None:
    """Show the commands that a patch brings and no commit of this repository holds, and ask; BadInput where nobody is there to answer."""
    upstream = submission.owner(layout, name)
    patch = Series.load(upstream, layout.series_dir(upstream)).patches.get(patch_name(name))
    commands = approval.unapproved(layout, upstream, patch) if patch else []
    if not patch or not commands:
        return
    listed = "\n".join(f"    {visible(command)}" for command in commands)
    if not yes and not sys.stdin.isatty():
        raise BadInput(f"{patch.name} brings commands that no commit of this repository holds and nobody approved:\n{listed}",
                       f"read them; then python3 build.py upstream {patch.name} {how} --yes runs them, --no-verify in its place leaves them out")
    say(f"{patch.name} brings commands that no commit of this repository holds:\n{listed}")
    if not yes and not click.confirm("Run them, now and later?", err=True):
        raise click.exceptions.Abort
    approval.approve(layout, upstream, patch, commands)


def status(layout: Layout, onto: str, of: str | None, *, as_json: bool) -> int:
    """The standing of every patch; against the base for the one upstream that it is of."""
    found = []
    known = pins.load(layout)
    if of is not None and of not in known:
        raise BadInput(f"--of {of}: no such upstream in pins.toml, and --onto is a base of one", f"use one of: {', '.join(known)}")
    if of is None and onto:
        of = "vllm" if "vllm" in known else next(iter(known)) if len(known) == 1 else None
        if of is None:
            raise BadInput(f"--onto {onto} is a base of one upstream, and pins.toml has {', '.join(known) or 'none'}",
                           f"python3 build.py upstream status --onto {onto} --of {next(iter(known), '<upstream>')}")  # fmt: skip
    for name in known:
        if Series.load(name, layout.series_dir(name)).files:
            found += standing(layout, name, onto if name == of else "", say=say)
    if as_json:
        print_json({"onto": onto, "patches": found})
    else:
        table("upstream", ("upstream", "patch", "declared", f"on {onto}" if onto else "", "why"),
              [(each.upstream, each.patch, each.declared, each.found, each.why) for each in found])  # fmt: skip
    return 0


def text(layout: Layout, done: Submission) -> str:
    """The pull request's text: purpose, tests, measurements with chip and versions, and what was not tested."""
    series = Series.load(done.upstream, layout.series_dir(done.upstream))
    patch = series.patches[done.patch]
    body = message(patch).decode("utf-8", "replace").partition("\n\n")[2]
    purpose = "\n\n".join(part for part in body.rstrip().split("\n\n") if not part.startswith(("Signed-off-by:", "Co-authored-by:")))
    checks = [f"- `{check.command}`: {'passed' if check.passed else 'FAILED or did not run'}\n  ```\n  "
              + check.said.replace("\n", "\n  ") + "\n  ```" for check in done.checks] or ["No test was run on this branch."]  # fmt: skip
    measured, chips = measurements(layout, series, done.patch)
    missing = [] if any("MI355" in chip or "gfx950" in chip for chip in chips) else ["Not run on an AMD MI355X (gfx950): none was available."]
    missing += [] if measured else [f"No measurement of its effect yet. Expected: {gain}" for gain in patch.trailers("Expected-gain")]
    parts = [f"# {patch.subject}", "## Purpose", purpose, "## Tests", f"On {done.onto} ({done.base[:12]}) with this branch ({done.commit[:12]}):",
             "\n".join(checks), "## Measurements", measured or "None.", "## Not tested", "\n".join(f"- {each}" for each in missing) or "-"]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def measurements(layout: Layout, series: Series, name: str) -> tuple[str, set[str]]:
    """(Markdown of every A/B in the records whose arms differ by this patch and what it needs, the chips)."""
    from tunefork.bench.records.store import default_store
    from tunefork.bench.report.build import gather
    from tunefork.bench.report.markdown import experiment

    if series.upstream != "vllm" or not default_store(layout).folder.is_dir():
        return "", set()
    data = gather(default_store(layout), plans=layout.work / "experiments")
    own = [found for found in data.outcomes if differs_by(series, found.a, found.b, name)]
    return "\n".join(line for found in own for line in experiment(found, data.records)).strip(), {chip for found in own for chip in found.chips}


def differs_by(series: Series, a: str, b: str, name: str) -> bool:
    """Whether B is A with the patch and at most what it depends on."""
    from tunefork.patchset.series.variant import choose

    try:
        before, after = (set(choose(spec, series).names) for spec in (a, b))
    except BadInput:  # a server by its URL, or a patch that is gone
        return False
    return before < after and name in after - before and after - before <= set(choose(f"only:{name}", series).names)


def show(done: Submission, file: Path) -> None:
    """Where everything is, and what to do next."""
    for row in done.patches:
        echo(f"{row.name}: {row.outcome} ({row.why})")
    for check in done.checks:
        echo(f"{'passed' if check.passed else 'FAILED'}: {check.command}", fg="green" if check.passed else "red")
    echo(f"branch {done.branch} in {done.path}\ntext   {file}")
    for remark in done.remarks:
        echo(f"look at: {remark}")
    echo(f"next: read both, then git -C {typed(str(done.path))} push <your fork> {done.branch}")
