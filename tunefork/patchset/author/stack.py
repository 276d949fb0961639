"""A series as a stack that an author changes: its patches as commits on the pin, and drafts of what they are to become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from tunefork.base.errors import BadInput, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.near import near, question
from tunefork.base.process import Say
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import repin, switch, work
from tunefork.patchset.checkout.bring import compose
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.checkout.workspace import Workspace
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
    """A series on its pin. patches: the whole series as commits, whatever the primary checkout holds."""

    space: Workspace
    patches: list[AppliedPatch]
    _touches: dict[str, tuple[Touch, ...]] = field(default_factory=dict)

    @property
    def upstream(self) -> str:
        return self.space.upstream

    @property
    def layout(self) -> Layout:
        return self.space.layout

    @property
    def pin(self) -> Pin:
        return self.space.pin

    @property
    def series(self) -> Series:
        return self.space.series

    @property
    def lock(self) -> Lock:
        return self.space.lock

    @property
    def checkout(self) -> Checkout:
        """The primary."""
        return self.space.primary

    @property
    def state(self) -> State:
        """Of the primary checkout."""
        return self.space.state

    @property
    def git(self) -> Git:
        return self.space.git

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
        return self.patches[-1].commit if self.patches else self.state.base

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
        return self.patches[at - 1].commit if at else self.state.base

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
    pin = pins.pin_of(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        checkouts.refuse_parked(layout, upstream)
        repin.refuse_rebase(layout, upstream)
        first = checkouts.primary(layout, upstream)
        if not first.exists():
            checkouts.create(layout, pin, sources.obtain(pin, layout, say), say)
        first.own_state()  # before anything is done there: it is ours
        switch.recover(first, say)
        series = picks.obtained(Series.load(upstream, layout.series_dir(upstream)), pin, first.git, say=say)
        space = Workspace.verified(layout, pin, series, first)
        yield Stack(space, compose(space, variant.choose("all", series)))


def refuse_unexported(stack: Stack) -> None:
    """Refuse where the checkout's branch holds what no patch file does: the new series would not have it."""
    found = work.find(stack.checkout, files=False)
    path = stack.checkout.path
    if found.operation or found.elsewhere:
        what = f"a {found.operation} in progress" if found.operation else f"HEAD on {found.elsewhere}"
        raise WorkAtRisk(f"{path.name} has {what}; the series is changed from {stack.state.branch}",
                         f"{'finish or abort it, then ' if found.operation else ''}`git checkout {stack.state.branch}` in {path}")
    if found.unexported:
        raise work.refuse(stack.checkout, "unexported commits", found.unexported, f"first: python3 build.py patch export {stack.upstream}")


def owner(layout: Layout, names: Sequence[str], upstream: str | None = None) -> str:
    """The upstream whose series has the patches that a user named; BadInput where none or several have them."""
    known = [upstream] if upstream else list(pins.load(layout))
    if upstream:
        pins.pin_of(layout, upstream)
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
    raise BadInput(f"no series has a patch {odd[0]!r}", question(near(patch_name(odd[0]), every)) + "`python3 build.py status` lists them")
