"""`patch new, edit, refresh, reorder, split, squash, drop, rename`: what an author does to a series without rebasing by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import work
from tunefork.patchset.sources import pins

if TYPE_CHECKING:
    from tunefork.patchset.author.conclude import Authored

Command = Callable[..., Any]
TRAILERS = "Upstream-Status: Pending\nScope: python\nVerified-by: \nUpstream-Tests: \nExpected-gain: \nSigned-off-by: {author}\n"
TEMPLATE = """[Tag] Subject in the upstream's style

Why: the problem, what changes, what it brings.

{trailers}
# Lines that begin with '#' are left out. patches/README.md says what the trailers mean. An empty message stops the command.
"""

message_option = click.option("-m", "--message", "words", multiple=True, metavar="TEXT", help="The message; each -m is a paragraph, the first the subject.")


def usual(command: Command) -> Command:
    """What every one of these commands takes."""
    return options.upstream()(options.dry_run()(options.as_json()(command)))


def owner(layout: Layout, names: tuple[str, ...], upstream: str | None) -> str:
    from tunefork.patchset.author.stack import owner as find

    return find(layout, names, upstream)


def changed_one(layout: Layout, upstream: str | None) -> str:
    """The upstream whose checkout has uncommitted changes; BadInput where none or several have."""
    known = list(pins.load(layout))
    if upstream or len(known) == 1:
        return upstream or known[0]
    there = [each for name in known if (each := checkouts.primary(layout, name)).exists()]
    found = [each.upstream for each in there if work.changed_paths(each)[0]]
    if len(found) == 1:
        return found[0]
    if not found:
        raise BadInput("no checkout has an uncommitted change", f"edit files in {layout.work}/<upstream> (`git add` new ones), then run this again")
    raise BadInput(f"{' and '.join(found)} both have uncommitted changes", f"add --upstream {found[0]}")


@click.command()
@click.argument("name")
@click.option("--after", metavar="PATCH", default="", help="Its place in the series (default: the end).")
@message_option
@click.option("-F", "--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the message from a file.")
@usual
def new(name: str, after: str, words: tuple[str, ...], file: Path | None, upstream: str | None, dry_run: bool, as_json: bool) -> None:
    """Make the checkout's uncommitted changes a new patch called NAME. Without a message, the editor opens with the trailers to fill in.

    \b
    python3 build.py patch new wider-tiles -m "[ROCm] Widen the tiles" -m "Why ..." -m "Upstream-Status: Pending
    Scope: python
    Verified-by: python3 -m pytest tests/x.py
    Upstream-Tests: none upstream has no test of it
    Expected-gain: fewer loads per tile, estimated
    Signed-off-by: A. User <user@example.org>"
    """
    from tunefork.patchset.author import refresh as refreshing

    layout = Layout.here()
    where = owner(layout, (after,), upstream) if after else changed_one(layout, upstream)
    checkout = checkouts.primary(layout, where)
    if not checkout.exists():
        raise BadInput(f"{where} has no checkout to take changes from", f"python3 build.py apply {where}")
    person = refreshing.author(checkout.git)
    text = file.read_bytes() if file else "\n\n".join(words).encode("utf-8", "surrogateescape") if words else asked(name, person[0])
    show(refreshing.new(layout, where, name, text, person, after=after, dry_run=dry_run, say=say), as_json=as_json)
    if (missing := without(text)) and not as_json:
        echo(f"  patch lint will ask for {', '.join(missing)} in its last paragraph: "
             f"python3 build.py patch edit {name}, `git commit --amend` there, then --continue")  # fmt: skip


def without(text: bytes) -> list[str]:
    """The trailers that patches/README.md asks for and a message does not have."""
    from tunefork.patchset.inspect.lint import TRAILERS as ASKED

    return [key for key in ASKED if f"\n{key.lower()}:".encode() not in b"\n" + text.lower()]


def asked(name: str, author: bytes) -> bytes:
    """The message as the author writes it in the editor."""
    if not sys.stdin.isatty():
        raise BadInput("a new patch needs a message, and there is no terminal to ask for it", f'python3 build.py patch new {name} -m "Subject" -m "Why ..."')
    written = click.edit(TEMPLATE.format(trailers=TRAILERS.format(author=author.decode("utf-8", "replace"))), require_save=True)
    lines = [line for line in (written or "").splitlines() if not line.startswith("#")]
    return "\n".join(lines).encode()


@click.command()
@click.argument("name", metavar="[PATCH]", required=False)
@options.go_on("Take what work/UPSTREAM@edit holds, and carry the later patches over it.")
@options.abort("Leave the series as it is; the worktree's work stays under a backup ref.")
@options.upstream()
@options.as_json()
def edit(name: str | None, go_on: bool, abort: bool, upstream: str | None, as_json: bool) -> None:
    """Stop at PATCH: work/UPSTREAM@edit, on branch edit/PATCH whose last commit it is.

    Change files there (`git commit --amend` is not needed, but may be used to reword; more commits become more patches), then --continue:
    the later patches are merged over it, and only the files of those that changed are rewritten. One that conflicts waits in the same
    worktree. Series, lock and checkout change at the end and together.
    """
    from tunefork.patchset.author import edit as editing

    layout = Layout.here()
    if go_on + abort + (name is not None) != 1:
        raise BadInput("patch edit takes one of PATCH, --continue and --abort", "python3 build.py patch edit PATCH")
    if go_on or abort:
        where = waiting(layout, upstream)
        if abort:
            backup = editing.abort(layout, where, say=say)
            if as_json:
                print_json({"upstream": where, "aborted": True, "backup": backup})
            return
        show(editing.go_on(layout, where, say=say), as_json=as_json)
        return
    stopped = editing.start(layout, owner(layout, (name or "",), upstream), name or "", say=say)
    if as_json:
        print_json(stopped)
        return
    echo(f"{stopped.patch} is open in {stopped.path}, on branch {stopped.branch}; change it there")
    echo("  then: python3 build.py patch edit --continue; or --abort")


def waiting(layout: Layout, upstream: str | None) -> str:
    """The upstream of which an edit waits."""
    from tunefork.patchset.checkout import repin

    known = [upstream] if upstream else list(pins.load(layout))
    found = [each for each in known if repin.editing(layout, each).under_way or repin.repinning(layout, each).under_way]
    if not found:
        raise BadInput("no edit waits", "`python3 build.py patch edit PATCH` begins one")
    if len(found) > 1:
        raise BadInput(f"edits of {' and '.join(found)} wait", f"add --upstream {found[0]}")
    return found[0]


@click.command()
@click.argument("name", metavar="[PATCH]", required=False)
@usual
def refresh(name: str | None, upstream: str | None, dry_run: bool, as_json: bool) -> int:
    """Fold the checkout's uncommitted changes into the patches that own their lines (by blame), or all of them into PATCH.

    A part that no single patch owns stops the command, which then says where it may belong; --dry-run shows the whole proposal and
    exits 1 where it has such a part.
    The checkout's files are not touched: afterwards they are what the series makes.
    """
    from tunefork.patchset.author import refresh as refreshing

    layout = Layout.here()
    where = owner(layout, (name,), upstream) if name else changed_one(layout, upstream)
    done = refreshing.refresh(layout, where, name, dry_run=dry_run, say=say)
    lost = [part for part in done.parts if not part.patch]
    if as_json:
        print_json(done)
        return 1 if lost else 0
    for part in done.parts:
        near = f" (nobody's; near {', '.join(part.likely)})" if part.likely else " (nobody's)"
        echo(f"  {part.where} -> " + (f"{part.patch} (by blame)" if part.why == "blame" else part.patch or "?" + near))
    if lost:
        echo("  a part that nobody owns: patch refresh PATCH takes everything into one patch, patch new NAME makes a new one")
    else:
        show(done.series, as_json=False)
    return 1 if lost else 0


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="PATCH...")
@click.option("--before", metavar="PATCH", default="", help="Put them right before this one.")
@click.option("--after", metavar="PATCH", default="", help="Put them right after this one.")
@click.option("--first", is_flag=True, help="Put them at the beginning.")
@click.option("--last", is_flag=True, help="Put them at the end.")
@usual
def reorder(
    names: tuple[str, ...], before: str, after: str, first: bool, last: bool, upstream: str | None, dry_run: bool, as_json: bool
) -> None:
    """Move patches, in the order given. What the whole series makes stays the same, or the command says what stands in the way."""
    from tunefork.patchset.author import reshape

    if bool(before) + bool(after) + first + last != 1:
        raise BadInput("reorder needs one of --before, --after, --first and --last", f"python3 build.py patch reorder {' '.join(names)} --first")
    layout = Layout.here()
    where = owner(layout, tuple(filter(None, (*names, before, after))), upstream)
    show(reshape.reorder(layout, where, names, before=before, after=after, first=first, dry_run=dry_run, say=say), as_json=as_json)


@click.command()
@click.argument("name", metavar="PATCH")
@click.argument("new_name", metavar="NEW")
@click.argument("parts", nargs=-1, required=True, metavar="PATH[:HUNK,...]...")
@message_option
@usual
def split(
    name: str, new_name: str, parts: tuple[str, ...], words: tuple[str, ...], upstream: str | None, dry_run: bool, as_json: bool
) -> None:
    """Move files (PATH) or hunks (PATH:1,3, counted as `patch show` prints them) of PATCH into a new patch NEW right before it."""
    from tunefork.patchset.author import reshape

    layout = Layout.here()
    text = "\n\n".join(words).encode("utf-8", "surrogateescape")
    show(reshape.split(layout, owner(layout, (name,), upstream), name, new_name, parts, words=text, dry_run=dry_run, say=say), as_json=as_json)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="PATCH PATCH...")
@message_option
@usual
def squash(names: tuple[str, ...], words: tuple[str, ...], upstream: str | None, dry_run: bool, as_json: bool) -> None:
    """Join patches into the first one named, at its place. Without -m its subject stays and the other messages follow its body."""
    from tunefork.patchset.author import reshape

    layout = Layout.here()
    text = "\n\n".join(words).encode("utf-8", "surrogateescape")
    show(reshape.squash(layout, owner(layout, names, upstream), names, words=text, dry_run=dry_run, say=say), as_json=as_json)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="PATCH...")
@usual
def drop(names: tuple[str, ...], upstream: str | None, dry_run: bool, as_json: bool) -> None:
    """Take patches out of the series, with their files. Each stays under a ref of the checkout's repository; how to have it back is said."""
    from tunefork.patchset.author import reshape

    layout = Layout.here()
    show(reshape.drop(layout, owner(layout, names, upstream), names, dry_run=dry_run, say=say), as_json=as_json)


@click.command()
@click.argument("old")
@click.argument("new_name", metavar="NEW")
@usual
def rename(old: str, new_name: str, upstream: str | None, dry_run: bool, as_json: bool) -> None:
    """Give a patch another name: its file, its line in the series, and the `Depends-On` of others."""
    from tunefork.patchset.author import reshape

    layout = Layout.here()
    show(reshape.rename(layout, owner(layout, (old,), upstream), old, new_name, dry_run=dry_run, say=say), as_json=as_json)


def show(done: Authored, *, as_json: bool) -> None:
    """What changed, or would, and how to have dropped patches back."""
    if as_json:
        print_json(done)
        return
    lines = [f"{verb} {name}" for verb, names in (("added", done.added), ("changed", done.changed), ("removed", done.removed)) for name in names]
    would = " (dry run: nothing was changed)" if done.dry_run else ""
    echo(f"{done.upstream}: {done.action}: {'; '.join(lines) or 'nothing changes'}; tree {done.tree[:12]}{would}")
    for note in done.notes:
        echo(f"  {note}")
    for ref in done.backups:
        echo(f"  to have {ref.rpartition('/')[2]} back: git -C work/{done.upstream} cherry-pick {ref}, "
                   f"then python3 build.py patch export {done.upstream}")
