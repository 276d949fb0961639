"""A series as a stack that an author changes: its patches as commits on the pin, and drafts of what they are to become."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tunefork.base.errors import BadInput, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import repin, switch, work
from tunefork.patchset.checkout.bring import compose
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.git import Git
from tunefork.patchset.series import picks, variant
from tunefork.patchset.series.lock import Lock, Touch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Made
from tunefork.patchset.series.series import Series, patch_name
from tunefork.patchset.sources import pins, sources
from tunefork.patchset.sources.pins import Pin

EDIT = "edit"  # work/<upstream>@edit is where an edit, or a patch that cannot be carried, waits


@dataclass(frozen=True)
class Draft:
    """A patch as it is to become. commits: whose changes it takes, in order; each is carried from where it was made.

    author, date, message: as commits hold them (mail.PatchFile).
    """

    name: str
    author: bytes
    date: bytes
    message: bytes
    commits: tuple[str, ...]

    @property
    def head(self) -> PatchFile:
        """What a commit of it says."""
        return PatchFile(self.name, b"", self.author, self.date, self.message, b"")


@dataclass
class Stack:
    """A series on its pin. held: the state of the primary checkout; patches: the whole series as commits, whatever that holds."""

    layout: Layout
    pin: Pin
    series: Series
    lock: Lock
    checkout: Checkout
    held: State
    patches: list[AppliedPatch]
    _touches: dict[str, tuple[Touch, ...]] = field(default_factory=dict)

    @property
    def upstream(self) -> str:
        return self.series.upstream

    @cached_property
    def git(self) -> Git:
        return self.checkout.git

    @cached_property
    def drafts(self) -> list[Draft]:
        """Every patch as it is."""
        return [self.draft(patch) for patch in self.patches]

    @cached_property
    def made(self) -> list[Made]:
        """Every patch as it was made on the pin, with what it does as the lock records it."""
        return [Made(patch.name, patch.commit, patch.tree, entry.touches)
                for patch, entry in zip(self.patches, self.lock.patches, strict=True)]  # fmt: skip

    @cached_property
    def by_commit(self) -> dict[str, Made]:
        return {each.commit: each for each in self.made}

    @property
    def tip(self) -> str:
        return self.patches[-1].commit if self.patches else self.held.base

    def draft(self, patch: AppliedPatch) -> Draft:
        file = self.series.patches[patch.name]
        return Draft(patch.name, file.author, file.date, file.message, (patch.commit,))

    def place(self, name: str) -> int:
        return self.series.names.index(name)

    def commit(self, name: str) -> str:
        return self.patches[self.place(name)].commit

    def below(self, name: str) -> str:
        """The commit that a patch stands on."""
        at = self.place(name)
        return self.patches[at - 1].commit if at else self.held.base

    def touches(self, commit: str) -> tuple[Touch, ...]:
        """What a commit does to each path: from the lock where it is a patch of the series, else from git."""
        if known := self.by_commit.get(commit):
            return known.touches
        if commit not in self._touches:
            found = switch.difference(self.git, f"{commit}^", commit)
            self._touches[commit] = tuple(Touch(old[0], new[0], old[1], new[1], path) for path, (old, new) in sorted(found.items()))
        return self._touches[commit]


@contextmanager
def opened(layout: Layout, upstream: str, say: Say) -> Iterator[Stack]:
    """The stack of an upstream, its files verified against the lock, its checkouts held against other Tunefork processes."""
    repin.recover(layout, upstream, say)
    pin = applying.pin_of(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        applying.refuse_parked(layout, upstream)
        refuse_rebase(layout, upstream)
        first = checkouts.primary(layout, upstream)
        if not first.exists():
            checkouts.create(layout, pin, sources.obtain(pin, layout, say), say)
        held = applying.state_of_primary(layout, upstream)
        switch.recover(first, say)
        series = picks.obtained(Series.load(upstream, layout.series_dir(upstream)), pin, first.git, say=say)
        lock = applying.checked_lock(series, pin, held)
        patches = compose(layout, first.git, series, variant.choose("all", series), lock, held)
        yield Stack(layout, pin, series, lock, first, held, patches)


def refuse_rebase(layout: Layout, upstream: str) -> None:
    """While a rebase waits, the series it began with must stay."""
    if (repin.folder(layout, upstream) / "progress.json").is_file():
        raise PatchConflict(f"{upstream}: a rebase waits in {layout.checkout(upstream, 'rebase')}",
                            f"finish it first: python3 build.py rebase {upstream} --continue; or --abort")


def refuse_edit(layout: Layout, upstream: str) -> None:
    """While a patch is being edited, the series it was taken from must stay."""
    if progress_file(layout, upstream).is_file():
        raise PatchConflict(f"{upstream}: a patch is being edited in {layout.checkout(upstream, EDIT)}",
                            f"finish it first: python3 build.py patch edit --upstream {upstream} --continue; or --abort")


def progress_file(layout: Layout, upstream: str) -> Path:
    """Written last when an edit stops: without it none began."""
    return repin.edits(layout, upstream) / "progress.json"


def refuse_unexported(stack: Stack) -> None:
    """Refuse where the checkout's branch holds what no patch file does: the new series would not have it."""
    found = work.find(stack.checkout, files=False)
    path = stack.checkout.path
    if found.operation or found.elsewhere:
        what = f"a {found.operation} in progress" if found.operation else f"HEAD on {found.elsewhere}"
        raise WorkAtRisk(f"{path.name} has {what}; the series is changed from {stack.held.branch}",
                         f"{'finish or abort it, then ' if found.operation else ''}`git checkout {stack.held.branch}` in {path}")
    if found.unexported:
        raise work.refuse(stack.checkout, "unexported commits", found.unexported, f"first: python3 build.py patch export {stack.upstream}")


def owner(layout: Layout, names: Sequence[str], upstream: str | None = None) -> str:
    """The upstream whose series has the patches that a user named; BadInput where none or several have them."""
    known = [upstream] if upstream else list(pins.load(layout))
    if upstream:
        applying.pin_of(layout, upstream)
    listed = {each: Series.load(each, layout.series_dir(each)).names for each in known}
    holding = [each for each, has in listed.items() if {patch_name(name) for name in names} <= set(has)]
    if len(holding) == 1:
        return holding[0]
    if len(holding) > 1:
        raise BadInput(f"{', '.join(names)}: the series of {' and '.join(holding)} both have it", f"add --upstream {holding[0]}")
    every = [name for has in listed.values() for name in has]
    odd = [name for name in names if patch_name(name) not in every]
    if not odd:
        raise BadInput(f"{', '.join(names)} are patches of different upstreams", "name patches of one upstream at a time")
    near = difflib.get_close_matches(patch_name(odd[0]), every, 1)
    raise BadInput(f"no series has a patch {odd[0]!r}", "".join(f"did you mean {each}? " for each in near) + "`python3 build.py status` lists them")
