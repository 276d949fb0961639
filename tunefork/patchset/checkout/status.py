"""Status: per upstream the pin, what is applied where, each patch's state, work in progress, and drift from the lock."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tunefork.base import mutex
from tunefork.base.errors import LockMismatch
from tunefork.base.layout import Layout
from tunefork.base.typed import typed
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import glance, park, repin, work
from tunefork.patchset.checkout.apply import PatchState
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import State
from tunefork.patchset.checkout.work import Work
from tunefork.patchset.series.lock import Lock
from tunefork.patchset.series.series import SUFFIX, Series
from tunefork.patchset.sources import pins
from tunefork.patchset.sources.pins import Pin

WORKERS = 8

@dataclass(frozen=True)
class CheckoutStatus:
    """One checkout: where, which variant, what work is in it."""

    path: Path
    variant: str
    tree: str
    work: Work


@dataclass(frozen=True)
class UpstreamStatus:
    """One upstream. source, variant, base_tree, tree, patches: of its primary checkout; None where there is none.

    patches' states: "applied", "pending" (in the variant's series, not in the checkout), "left out", "changed" (its file is not the
    locked one), "stale" (its file is the locked one, the checkout holds another version, as after a pull), "parked".
    drift: lines that say how series, files, lock and checkouts differ; empty when they agree.
    """

    name: str
    pin: str
    commit: str
    source: str | None
    variant: str | None
    base_tree: str | None
    tree: str | None
    patches: tuple[PatchState, ...]
    work: Work
    checkouts: tuple[CheckoutStatus, ...]
    drift: tuple[str, ...]
    parked: str | None
    seconds: float


def status(layout: Layout, upstream: str) -> UpstreamStatus:
    """Look at one upstream; nothing is written but our own notes (glance.py)."""
    begin = time.monotonic()
    with mutex.folder(layout.series_dir(upstream), shared=True):  # the three belong together
        pin = pins.load(layout)[upstream]
        series = Series.load(upstream, layout.series_dir(upstream))
        lock, damage = readable_lock(series)
    found = [(each, state) for each in checkouts.all_checkouts(layout, upstream) if (state := each.state()) is not None]
    glance.forget_others([checkout for checkout, _ in found])
    look = partial(glance.asked, alone=len(found) < (os.cpu_count() or 1), times=keeps_times(layout, found))
    with ThreadPoolExecutor(WORKERS) as pool:  # each waits for a git of its own
        sides = tuple(pool.map(lambda pair: CheckoutStatus(pair[0].path, pair[1].variant, pair[1].tree, work.find(pair[0], look=look)), found))
    state = found[0][1] if found else None
    sums = Sums.of(series, lock)
    parked = park.find(layout, upstream)
    return UpstreamStatus(
        name=upstream,
        pin=pin.tag,
        commit=pin.commit,
        source=state.source if state else None,
        variant=state.variant if state else None,
        base_tree=state.base_tree if state else None,
        tree=state.tree if state else None,
        patches=tuple(patch_state(name, sums, state, parked.patch if parked else None) for name in series.names),
        work=sides[0].work if sides else Work(),
        checkouts=sides,
        drift=(damage or drift(series, lock, pin, found, sums)) + waiting(layout, upstream) + forgotten(layout, upstream, {side.path for side in sides}),
        parked=parked.patch if parked else None,
        seconds=round(time.monotonic() - begin, 3),
    )


def keeps_times(layout: Layout, found: Sequence[tuple[Checkout, State]]) -> bool:
    """Whether the times of folders of all checkouts can be believed: they stand in one folder."""
    return glance.keeps_times(layout.work) and not any(checkout.path.is_symlink() or os.path.ismount(checkout.path) for checkout, _ in found)


def readable_lock(series: Series) -> tuple[Lock | None, tuple[str, ...]]:
    """(the lock, none of these lines) or (None, a line that says what is wrong with it): status reports, it does not refuse."""
    try:
        return Lock.of(series), ()
    except LockMismatch as error:
        return None, (error.message,)


def waiting(layout: Layout, upstream: str) -> tuple[str, ...]:
    """A line for a rebase that is not finished."""
    if repin.repinning(layout, upstream).under_way:
        if checkouts.busy(layout, upstream):
            return ("another command is changing the series just now; ask again when it is done",)
        return (f"a change of the series was interrupted in its last step; `python3 build.py apply {upstream}` finishes it",)
    if repin.rebasing(layout, upstream).under_way:
        return (f"a rebase waits in {layout.checkout(upstream, 'rebase').name} (rebase {upstream} --continue, or --abort)",)
    if repin.editing(layout, upstream).under_way:
        return (f"an edit waits in {layout.checkout(upstream, 'edit').name} (patch edit --upstream {upstream} --continue, or --abort)",)
    return ()


def forgotten(layout: Layout, upstream: str, seen: Set[Path]) -> tuple[str, ...]:
    """A line for each worktree beside the checkout that no state and no journal knows: its notes were removed by hand, or with a repository.

    seen: those whose state was read already; only where others are there, it is read anew.
    """
    asked_for = tuple(f"{upstream}@{kind}-" for kind in ("upstream", "backup"))  # they stay until the user removes them
    unseen = [path for path in sorted(layout.work.glob(f"{upstream}@*")) if path not in seen]
    there = [path for path in unseen if not path.name.startswith(asked_for) and (path / ".git").exists()]
    if not there or checkouts.busy(layout, upstream):  # who makes one writes down last what it is
        return ()
    known = {checkout.path for checkout in checkouts.all_checkouts(layout, upstream) if checkout.state() is not None}
    known |= {layout.checkout(upstream, slug) for slug, this in (("edit", repin.editing(layout, upstream)), ("rebase", repin.rebasing(layout, upstream)),
                                                                 ("parked", park.parking(layout, upstream))) if this.under_way}  # fmt: skip
    return tuple(f"nothing knows {path.name} any more: move what you need out of it, then: rm -r {typed(path)}" for path in there if path not in known)


@dataclass(frozen=True)
class Sums:
    """sha256 by patch: of the files, and of those that the lock records."""

    files: Mapping[str, str]
    locked: Mapping[str, str]

    @classmethod
    def of(cls, series: Series, lock: Lock | None) -> Sums:
        files = {name: hashlib.sha256(data).hexdigest() for name, data in series.files.items()}
        return cls(files, {patch.name: patch.sha256 for patch in lock.patches} if lock else {})


def patch_state(name: str, sums: Sums, state: State | None, parked: str | None) -> PatchState:
    """The state of one patch of the series."""
    if name == parked:
        return PatchState(name, "parked", None)
    applied = next((patch for patch in state.patches if patch.name == name), None) if state else None
    sha256 = sums.files[name]
    if sums.locked.get(name) != sha256:
        return PatchState(name, "changed", applied.tree if applied else None)
    if applied:
        return PatchState(name, "applied" if applied.sha256 == sha256 else "stale", applied.tree)
    return PatchState(name, "pending" if state is None or state.variant == "all" else "left out", None)


def drift(series: Series, lock: Lock | None, pin: Pin, found: list[tuple[Checkout, State]], sums: Sums) -> tuple[str, ...]:
    """How the series' files, the lock, the pin and the checkouts differ from each other."""
    lines = []
    if lock is None and series.files:
        lines.append("there is no series.lock")
    if lock is not None:
        if lock.base != pin.commit:
            lines.append(f"series.lock was made on {lock.base[:12]}, the pin is {pin.commit[:12]}")
        if lock.names != tuple(series.names):
            lines.append(f"series.lock records {', '.join(lock.names) or 'no patches'}; the series is {', '.join(series.names) or 'empty'}")
        lines += [f"{name}.patch is not the locked file" for name, sha256 in sums.files.items() if sums.locked.get(name, sha256) != sha256]
    listed = {name + SUFFIX for name in series.names}
    lines += [f"{path.name} is in no line of the series" for path in sorted(series.directory.glob("*" + SUFFIX)) if path.name not in listed]
    bases = (pin.commit, pin.sdist.commit if pin.sdist else pin.commit)
    lines += [f"{checkout.path.name} is on {state.base[:12]}, not on the pin" for checkout, state in found if not state.base.startswith(bases)]
    lines += [line for checkout, state in found if (line := staleness(series, sums, checkout, state))]
    return tuple(lines)


def staleness(series: Series, sums: Sums, checkout: Checkout, state: State) -> str:
    """A line for a checkout that was applied from other versions of patches than the locked files, and what repairs it; "" for any other."""
    stale = [name for name in series.names if patch_state(name, sums, state, None).state == "stale"]
    if not stale:
        return ""
    what = f"{checkout.path.name} holds another version of {', '.join(stale)} than patches/, as after a pull"
    return f"{what}; `{checkout.apply_command(state.variant)}` repairs it"
