"""`rebase`: a series to another version of its upstream, or a trial of that."""

from __future__ import annotations

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import aside, print_json, say, table
from tunefork.patchset.rebase.rebase import Rebased


@click.command()
@click.argument("upstream")
@click.option("--to", metavar="BASE", help="A tag or commit, a version of the source distribution (0.33.0), or a path: a repository "
              "(PATH@REF for another than its HEAD) or an unpacked tree.")  # fmt: skip
@click.option("--check", is_flag=True, help="Try every patch and change nothing; exit 1 when one conflicts.")
@click.option("--commit", metavar="SHA", default="", help="The tag's commit, for a source distribution where git does not answer.")
@options.go_on("Take the resolved files of work/UPSTREAM@rebase, and go on.")
@options.abort("Forget a rebase that waits in work/UPSTREAM@rebase.")
@click.option("--range-diff", "diffs", is_flag=True, help="Show how each patch that changed did.")
@options.as_json()
def rebase(upstream: str, to: str | None, check: bool, commit: str, go_on: bool, abort: bool, diffs: bool, as_json: bool) -> int:
    """Move a series to another base: each patch is merged onto it, and dropped where upstream has it.

    Patches, series, series.lock and pins.toml change at the very end and together; work/UPSTREAM follows, its old state under a
    backup ref. A patch that conflicts waits in work/UPSTREAM@rebase.

    \b
    python3 build.py rebase vllm --to 0.33.0 --check        what would become of each patch
    python3 build.py rebase aiter --to v0.1.20.post1
    """
    from tunefork.patchset.rebase import rebase as rebasing

    layout = Layout.here()
    if go_on + abort + (to is not None) != 1 or (check and to is None):
        raise BadInput("rebase needs one of --to, --continue and --abort; --check goes with --to",
                       f"python3 build.py rebase {upstream} --to <tag, version or path> --check")  # fmt: skip
    if abort:
        ref = rebasing.abort(layout, upstream, say=say)
        if as_json:
            print_json({"upstream": upstream, "aborted": True, "backup": ref})
        return 0
    if go_on:
        done = rebasing.go_on(layout, upstream, say=say)
    elif check:
        done = rebasing.check(layout, upstream, to or "", say=say)
    else:
        done = rebasing.start(layout, upstream, to or "", commit=commit, say=say)
    if as_json:
        print_json(done)
    else:
        show(done, diffs=diffs)
    return 1 if check and done.conflicts else 0


def show(done: Rebased, *, diffs: bool) -> None:
    """One line per patch, then what the user should know."""
    verb = "would go" if done.checked else "went"
    rows = [(patch.name, patch.outcome, patch.why) for patch in done.patches]
    table(f"{done.upstream}: {len(rows)} patches {verb} from {done.old} to {done.new} ({done.source})", ("patch", "outcome", "why"), rows)
    for patch in done.patches:
        for each in patch.upstream_commits:
            what = "is this patch" if each.same else "touched its lines"
            aside(f"  {patch.name}: {each.commit[:12]} {what}: {each.subject}")
        if diffs and patch.range_diff:
            aside(patch.range_diff)
    lines = [f"commits between the pins are not known: {done.no_history}" if done.no_history else "", *done.notes,
             f"sha256 {done.sha256}" if done.sha256 and done.checked else "",
             f"the checkout's old state: git -C work/{done.upstream} checkout {done.backup}" if done.backup else ""]  # fmt: skip
    for line in filter(None, lines):
        aside(f"  {line}")
    if not done.checked:
        aside("  next: python3 build.py develop and test; then commit pins.toml and patches/")
