"""Change an upstream's series or pin in one step: pins.toml, patch files, series, lock, and what the checkouts stand on.

The step is a journal in ``work/.rebase/<upstream>``: before it is written nothing has changed, afterwards whoever works on the upstream
next finishes what a kill left over. Files of the checkouts are not touched here; an apply brings them to where the series now is.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.base import mutex
from tunefork.base.errors import PatchConflict
from tunefork.base.files import remove, write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.transaction import Transaction, bytes_of
from tunefork.base.typed import typed
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import state
from tunefork.patchset.checkout.checkout import PIN_REF, Checkout
from tunefork.patchset.sources import pinfile, pins
from tunefork.patchset.sources.pins import Pin


@dataclass(frozen=True)
class Follow:
    """The primary's branch and index go from one commit to another: its files hold the new one's content already."""

    branch: str
    old: str
    new: str


@dataclass(frozen=True)
class Move:
    """The step. files: name in the series' folder -> its bytes (text_of), or None to delete.  source, base, base_tree: of the checkouts from now on."""

    pin: Pin
    files: dict[str, str | None]
    source: str
    base: str
    base_tree: str
    follow: Follow | None = None


def folder(layout: Layout, upstream: str) -> Path:
    """Where a rebase in progress keeps its repository and notes; removing it forgets the rebase."""
    return layout.work / ".rebase" / upstream


def edits(layout: Layout, upstream: str) -> Path:
    """Where an edit of a patch keeps its notes."""
    return layout.work / ".edit" / upstream


def repinning(layout: Layout, upstream: str) -> Transaction:
    """The step itself; once it has begun it is final."""
    return Transaction(folder(layout, upstream) / "journal.json")


def rebasing(layout: Layout, upstream: str) -> Transaction:
    """A rebase that waits for its author."""
    return Transaction(folder(layout, upstream) / "progress.json")


def editing(layout: Layout, upstream: str) -> Transaction:
    """An edit that waits for its author."""
    return Transaction(edits(layout, upstream) / "progress.json")


def refuse_rebase(layout: Layout, upstream: str) -> None:
    """While a rebase waits, the series it began with must stay."""
    if rebasing(layout, upstream).under_way:
        raise PatchConflict(f"{upstream}: a rebase waits in {layout.checkout(upstream, 'rebase')}",
                            f"finish it first: python3 build.py rebase {upstream} --continue; or --abort")


def refuse_edit(layout: Layout, upstream: str) -> None:
    """While a patch is being edited, the series it was taken from must stay."""
    if editing(layout, upstream).under_way:
        raise PatchConflict(f"{upstream}: a patch is being edited in {layout.checkout(upstream, 'edit')}",
                            f"finish it first: python3 build.py patch edit --upstream {upstream} --continue; or --abort")


def commit(layout: Layout, move: Move) -> None:
    """Write the journal, which makes the step final, and carry it out. The upstream's checkouts are locked by the caller."""
    repinning(layout, move.pin.name).step({**asdict(move), "files": move.files})
    carry_out(layout, move)


def recover(layout: Layout, upstream: str, say: Say) -> bool:
    """Finish a step that was interrupted after it became final. Returns whether there was one. Called before anything reads the pin."""
    this = repinning(layout, upstream)
    if not this.under_way:
        return False
    with checkouts.locked(layout, upstream, say):
        move = this.read(read, f"`git checkout -- pins.toml patches/`, then: rm {typed(this.journal)}; python3 build.py status {upstream}")
        if move is None:  # another process finished it meanwhile
            return False
        say(f"{upstream}: finishing an interrupted change of the series")
        carry_out(layout, move)
    return True


def read(data: dict[str, Any]) -> Move:
    """A step from its JSON."""
    pin, follow = pins.revived(data.pop("pin")), data.pop("follow", None)
    return Move(pin, follow=Follow(**follow) if follow else None, **data)


def carry_out(layout: Layout, move: Move) -> None:
    """Every part may be done twice; the journal goes last."""
    name = move.pin.name
    with mutex.folder(layout.series_dir(name)):
        for leftover in layout.series_dir(name).glob("*.tmp[0-9]*"):  # of a kill while this was done before
            remove(leftover)
        for file, text in move.files.items():
            path = layout.series_dir(name) / file
            if text is None:
                remove(path)
            elif not path.is_file() or path.read_bytes() != bytes_of(text):
                write_atomically(path, bytes_of(text))
        with mutex.locked(layout.work / ".locks" / "pins", lambda _line: None, ""):
            old = layout.pins.read_text(encoding="utf-8") if layout.pins.is_file() else ""
            if (new := pinfile.with_pin(old, move.pin)) != old:
                write_atomically(layout.pins, new.encode())
    for checkout in checkouts.all_checkouts(layout, name):
        rebase_state(checkout, move)
    first = checkouts.primary(layout, name)
    if first.exists():
        first.git("update-ref", PIN_REF, move.base)
        if move.follow:
            follow_on(first, move.follow)
    if editing(layout, name).under_way:  # this step is the end of an edit
        shutil.rmtree(layout.checkout(name, "edit"), ignore_errors=True)
        shutil.rmtree(edits(layout, name), ignore_errors=True)
    shutil.rmtree(layout.checkout(name, "rebase"), ignore_errors=True)
    aside = folder(layout, name).with_name(f".{name}.done")
    shutil.rmtree(aside, ignore_errors=True)
    folder(layout, name).rename(aside)  # in one step: a journal must not outlive what it was written with
    shutil.rmtree(aside, ignore_errors=True)


def follow_on(first: Checkout, follow: Follow) -> None:
    """Index, then refs, without a look at the files; nothing where it is done already, or where the user has gone on since."""
    if first.head() != (follow.branch, follow.old):
        return
    first.git("read-tree", follow.new)
    first.git.run("update-index", "-q", "--refresh")
    refs = f"update refs/heads/{follow.branch} {follow.new}\nupdate {checkouts.applied_ref(follow.branch)} {follow.new}\n"
    first.git("update-ref", "--create-reflog", "-m", "tunefork refresh", "--stdin", stdin=refs.encode())


def rebase_state(checkout: Checkout, move: Move) -> None:
    """Note that a checkout is to stand on the new pin with nothing applied yet; its files and branch still hold the old one."""
    here = checkout.state()
    if here is not None and here.base != move.base:
        moved = replace(here, source=move.source, base=move.base, base_tree=move.base_tree, patches=())
        state.save(checkout.state_file, moved)
