"""Apply a series: load and verify, and where the checkout is not there yet, bring it there (bring.py).

An apply with nothing to do is what every command begins with: it reads files and one ref, and imports no more than that needs.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunefork.base.errors import BadInput, LockMismatch, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import repin
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import State
from tunefork.patchset.series import variant
from tunefork.patchset.series.lock import Lock, LockedPatch
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import Variant
from tunefork.patchset.sources import pins
from tunefork.patchset.sources.pins import Pin

if TYPE_CHECKING:
    from tunefork.patchset.checkout.applied import AppliedTree

PARKED = "parked.json"


@dataclass(frozen=True)
class PatchState:
    """One patch of a series after an apply. state: "applied" (now), "kept" (was there), "left out" (not in the variant)."""

    name: str
    state: str
    tree: str | None


@dataclass(frozen=True)
class Applied:
    """What an apply did to one upstream. seconds: wall time.  changed: files written."""

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


def pin_of(layout: Layout, upstream: str) -> Pin:
    """The pin of an upstream; BadInput lists the known ones."""
    known = pins.load(layout)
    if upstream not in known:
        raise BadInput(f"no upstream {upstream!r} in pins.toml", f"use one of: {', '.join(known)}")
    return known[upstream]


def apply_variant(layout: Layout, upstream: str, spec: str, *, beside: bool = False, say: Say = quiet) -> AppliedTree:
    """Apply a variant and return the checkout that holds it."""
    from tunefork.patchset.checkout.applied import from_state

    apply(layout, upstream, spec, beside=beside, say=say)
    series = Series.load(upstream, layout.series_dir(upstream))
    chosen = variant.choose(spec, series)
    checkout = holder(layout, upstream, chosen, beside=beside)
    found = checkout.state()
    assert found is not None
    return from_state(checkout, found)


def holder(layout: Layout, upstream: str, chosen: Variant, *, beside: bool) -> Checkout:
    """The checkout a variant belongs in: the primary, or one beside it unless the primary already holds the variant."""
    first = checkouts.primary(layout, upstream)
    if not beside:
        return first
    held = first.state()
    return first if held is not None and held.variant == chosen.spec else checkouts.beside(layout, upstream, chosen.slug)


def apply(
    layout: Layout, upstream: str, spec: str = "all", *, beside: bool = False, discard: bool = False, say: Say = quiet
) -> Applied:
    """Apply a variant of an upstream's series to its checkout (``beside``: to a worktree of its own).

    Raises LockMismatch, PatchConflict, SourceError, WorkAtRisk or BadInput; the checkout is then as it was.
    """
    begin = time.monotonic()
    repin.recover(layout, upstream, say)
    pin = pin_of(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        series = Series.load(upstream, layout.series_dir(upstream))
        chosen = variant.choose(spec, series)
        if chosen.note:
            say(f"{upstream}: {chosen.note}")
        refuse_parked(layout, upstream)
        checkout = holder(layout, upstream, chosen, beside=beside)
        before = checkout.state()
        if before is None and not checkouts.primary(layout, upstream).exists():
            from tunefork.patchset.sources import sources

            before = checkouts.create(layout, pin, sources.obtain(pin, layout, say), say).state()
        lock = checked_lock(series, pin, before or state_of_primary(layout, upstream))
        if checkout.exists() and checkout.journal_file.exists():
            from tunefork.patchset.checkout import switch

            switch.recover(checkout, say)
        wanted = fingerprint(series, chosen, lock)
        if before is None or not unchanged(checkout, before, chosen, wanted) or discard:
            from tunefork.patchset.checkout.bring import bring

            after, changed = bring(layout, pin, series, chosen, lock, checkout, discard=discard, say=say)
        else:
            after, changed = before, 0
    kept = {patch.commit for patch in before.patches} if before else set()
    return result(upstream, series, after, kept, checkout, changed, time.monotonic() - begin)


def state_of_primary(layout: Layout, upstream: str) -> State:
    found = checkouts.primary(layout, upstream).state()
    if found is None:
        raise WorkAtRisk(f"{layout.checkout(upstream)} is not a checkout that Tunefork made",
                         f"move it away: mv {layout.checkout(upstream)} {layout.checkout(upstream)}.old")
    return found


def refuse_parked(layout: Layout, upstream: str) -> None:
    """While a patch is parked nothing else is applied: the series is being changed."""
    if (layout.checkout(upstream) / ".git" / "tunefork" / PARKED).is_file():
        raise PatchConflict(f"{upstream}: a patch is parked in {layout.checkout(upstream, 'parked')}",
                            f"resolve it there, then `python3 build.py apply {upstream} --continue`; or `--abort`")


def checked_lock(series: Series, pin: Pin, held: State) -> Lock:
    """The series' lock, its files verified. An empty series needs none. The lock speaks of the pin's commit whatever the source."""
    lock = Lock.load(series.directory)
    if (held.source == "git" and not held.base.startswith(pin.commit)) or (held.source == "sdist" and pin.sdist and held.base != pin.sdist.commit):
        raise LockMismatch(f"work/{series.upstream} is on {held.base[:12]}, pins.toml says {pin.commit[:12]}",
                           f"move work/{series.upstream} away (export your commits first), then apply again")
    if lock is None:
        if series.files:
            raise LockMismatch(f"{series.directory} has patches and no series.lock", f"python3 build.py patch lock {series.upstream}")
        return Lock(pin.commit, ())
    lock.check_files(series, pin.commit, [hashlib.sha256(data).hexdigest() for data in series.files.values()])
    return lock


def fingerprint(series: Series, chosen: Variant, lock: Lock) -> list[tuple[str, str, str]]:
    """What identifies each wanted patch: name, hash of its file, hash of its lines in the lock ("" where it is merged)."""
    lines = {patch.name: entry_hash(patch) for patch in lock.patches}
    sums = {patch.name: patch.sha256 for patch in lock.patches}
    return [(name, sums[name], lines[name] if chosen.exact else "") for name in chosen.names]


def entry_hash(patch: LockedPatch) -> str:
    return hashlib.sha256("\n".join(touch.line() for touch in patch.touches).encode()).hexdigest()[:16]


def unchanged(checkout: Checkout, held: State, chosen: Variant, wanted: list[tuple[str, str, str]]) -> bool:
    """Whether the checkout is already where it should be: one file and one ref are read."""
    here = [(patch.name, patch.sha256, patch.locked) for patch in held.patches]
    return held.variant == chosen.spec and here == wanted and checkout.head() == (held.branch, held.commit)


def result(
    upstream: str, series: Series, after: State, kept: set[str], checkout: Checkout, changed: int, seconds: float
) -> Applied:
    """The report of an apply."""
    trees = {patch.name: patch for patch in after.patches}
    rows = tuple(
        PatchState(name, ("kept" if trees[name].commit in kept else "applied") if name in trees else "left out",
                   trees[name].tree if name in trees else None)
        for name in series.names
    )  # fmt: skip
    return Applied(upstream, after.source, after.variant, after.base_tree, after.tree, rows, round(seconds, 3),
                   checkout.path, after.commit, changed)


def left_out(layout: Layout, upstream: str, spec: str, why: str) -> Applied:
    """The report for an upstream that was not applied."""
    rows = tuple(PatchState(name, "left out", None) for name in Series.load(upstream, layout.series_dir(upstream)).names)
    return replace(Applied(upstream, None, spec, None, None, rows, 0.0), why=why)
