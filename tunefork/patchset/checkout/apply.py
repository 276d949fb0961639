"""Apply a series, in four steps: load what is wanted, verify it, materialise its commits, move the checkout there.

An apply with nothing to do is what every command begins with: it ends after the second step, having read files and one ref, and
imports no more than that needs. The last two steps are in bring.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import repin
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.checkout.workspace import Workspace, fingerprint
from tunefork.patchset.series import variant
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import Variant
from tunefork.patchset.sources.pins import Pin, pin_of

if TYPE_CHECKING:
    from tunefork.patchset.checkout.applied import AppliedTree


@dataclass(frozen=True)
class PatchState:
    """One patch of a series after an apply. state: "applied" (now), "kept" (was there), "left out" (not in the variant)."""

    name: str
    state: str
    tree: str | None


@dataclass(frozen=True)
class Applied:
    """What an apply did to one upstream. seconds: wall time.  changed: files written.

    carried: files with uncommitted changes that the variant's commits know nothing of, and that came along.
    """

    name: str
    source: str | None
    variant: str
    base_tree: str | None
    tree: str | None
    patches: tuple[PatchState, ...]
    seconds: float
    path: Path | None = None
    commit: str | None = None
    changed: int = 0
    why: str = ""
    carried: tuple[str, ...] = ()


def apply(
    layout: Layout, upstream: str, spec: str = "all", *, beside: bool = False, discard: bool = False, say: Say = quiet
) -> Applied:
    """Apply a variant of an upstream's series to its checkout (``beside``: to a worktree of its own).

    Raises LockMismatch, PatchConflict, SourceError, WorkAtRisk or BadInput; the checkout is then as it was.
    """
    begin = time.monotonic()
    repin.recover(layout, upstream, say)
    if (layout.checkout(upstream) / ".git" / "tunefork" / checkouts.PARKED).is_file():
        from tunefork.patchset.checkout import park

        park.recover(layout, upstream, say)
    pin = pin_of(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        this = Apply.load(layout, pin, spec, beside=beside, say=say)
        this.verify()
        if discard or not this.nothing_to_do:
            this.materialise()
            this.move(discard=discard)
    return this.report(time.monotonic() - begin)


@dataclass
class Apply:
    """One apply on its way. Each step fills in what the next ones need; the upstream's checkouts are locked by the caller.

    load:         series, chosen (the variant), primary, target (the checkout it goes to), before (what is applied there)
    verify:       space (with the lock), after (what is applied, as far as that is known)
    materialise:  patches (the variant's, as commits)
    move:         after, changed (files written), carried
    """

    layout: Layout
    pin: Pin
    series: Series
    chosen: Variant
    primary: Checkout
    target: Checkout
    before: State | None
    say: Say
    space: Workspace = field(init=False)
    patches: list[AppliedPatch] = field(init=False)
    after: State | None = None
    changed: int = 0
    carried: tuple[str, ...] = ()

    @classmethod
    def load(cls, layout: Layout, pin: Pin, spec: str, *, beside: bool, say: Say) -> Apply:
        """What is wanted, and where. BadInput for a variant that is none, PatchConflict while a patch is parked."""
        series = Series.load(pin.name, layout.series_dir(pin.name))
        chosen = variant.choose(spec, series)
        if chosen.note:
            say(f"{pin.name}: {chosen.note}")
        checkouts.refuse_parked(layout, pin.name)
        primary = checkouts.primary(layout, pin.name)
        target = checkouts.holder(layout, primary, chosen.spec, chosen.slug, beside=beside)
        return cls(layout, pin, series, chosen, primary, target, target.state(), say)

    def verify(self) -> None:
        """The checkout is there, of the pin, and whole; the series' files are the locked ones."""
        if self.before is None and not self.primary.exists():
            from tunefork.patchset.sources import sources

            checkouts.create(self.layout, self.pin, sources.obtain(self.pin, self.layout, self.say), self.say)
            self.before = self.target.state()
        self.space = Workspace.verified(self.layout, self.pin, self.series, self.primary, self.before)
        if self.target.exists():
            checkouts.clear_lock(self.target)
        if self.target.exists() and self.target.moving.under_way:
            from tunefork.patchset.checkout import switch

            switch.recover(self.target, self.say)
        self.after = self.before

    @property
    def nothing_to_do(self) -> bool:
        """Whether the checkout is already where it should be: one file and one ref are read."""
        if self.before is None or self.before.variant != self.chosen.spec:
            return False
        here = [fingerprint(patch) for patch in self.before.patches]
        return here == self.space.fingerprints(self.chosen) and self.target.head() == (self.before.branch, self.before.commit)

    def materialise(self) -> None:
        """The variant's patches as commits, each verified against the lock; no checkout is touched."""
        from tunefork.patchset.checkout.bring import compose

        self.patches = compose(self.space, self.chosen, self.say)

    def move(self, *, discard: bool) -> None:
        """The checkout to the last of these commits; what only the checkout holds is refused, or under ``discard`` kept by a ref."""
        from tunefork.patchset.checkout import work
        from tunefork.patchset.checkout.bring import bring

        self.after, self.changed = bring(self.space, self.chosen, self.patches, self.target, discard=discard, say=self.say)
        self.carried = work.changed_paths(self.target)[0]

    def report(self, seconds: float) -> Applied:
        """What was done."""
        assert self.after is not None
        kept = {patch.commit for patch in self.before.patches} if self.before else set()
        here = {patch.name: patch for patch in self.after.patches}
        rows = tuple(
            PatchState(name, ("kept" if here[name].commit in kept else "applied") if name in here else "left out",
                       here[name].tree if name in here else None)
            for name in self.series.names
        )  # fmt: skip
        return Applied(self.pin.name, self.after.source, self.after.variant, self.after.base_tree, self.after.tree, rows, round(seconds, 3),
                       self.target.path, self.after.commit, self.changed, carried=self.carried)


def apply_variant(layout: Layout, upstream: str, spec: str, *, beside: bool = False, say: Say = quiet) -> AppliedTree:
    """Apply a variant and return the checkout that holds it."""
    from tunefork.patchset.checkout.applied import from_state

    apply(layout, upstream, spec, beside=beside, say=say)
    chosen = variant.choose(spec, Series.load(upstream, layout.series_dir(upstream)))
    checkout = checkouts.holder(layout, checkouts.primary(layout, upstream), chosen.spec, chosen.slug, beside=beside)
    found = checkout.state()
    assert found is not None
    return from_state(checkout, found)


def left_out(layout: Layout, upstream: str, spec: str, why: str) -> Applied:
    """The report for an upstream that was not applied."""
    rows = tuple(PatchState(name, "left out", None) for name in Series.load(upstream, layout.series_dir(upstream)).names)
    return replace(Applied(upstream, None, spec, None, None, rows, 0.0), why=why)
