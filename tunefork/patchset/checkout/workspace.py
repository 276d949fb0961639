"""An upstream's workspace: its pin, its series, the lock that verifies it, and the primary checkout with what it stands on.

Loaded and verified once; apply and everybody else who makes the series' commits pass it on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tunefork.base.errors import LockMismatch
from tunefork.base.layout import Layout
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.git import Git
from tunefork.patchset.series.lock import Lock, LockedPatch
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import Variant
from tunefork.patchset.sources.pins import Pin

Fingerprint = tuple[str, str, str]
"""What identifies a patch: its name, the hash of its file, the hash of its lines in the lock ("" where it is merged)."""


@dataclass(frozen=True)
class Workspace:
    """One upstream as it stands here. lock: agrees with the series' files.  state: of the primary checkout."""

    layout: Layout
    pin: Pin
    series: Series
    lock: Lock
    primary: Checkout
    state: State

    @property
    def upstream(self) -> str:
        return self.pin.name

    @property
    def git(self) -> Git:
        """git in the object database that all checkouts of the upstream share."""
        return self.primary.git

    @classmethod
    def verified(cls, layout: Layout, pin: Pin, series: Series, primary: Checkout, target: State | None = None) -> Workspace:
        """The workspace of an upstream that is checked out. target: the state of the checkout that is meant, where it is not the primary.

        Raises WorkAtRisk for a folder that is no checkout of ours, LockMismatch where files or checkout are not what the lock records.
        """
        state = primary.own_state()
        return cls(layout, pin, series, checked_lock(series, pin, target or state), primary, state)

    def fingerprints(self, chosen: Variant) -> list[Fingerprint]:
        """What identifies each patch of a variant."""
        lines = {patch.name: entry_hash(patch) for patch in self.lock.patches}
        sums = {patch.name: patch.sha256 for patch in self.lock.patches}
        return [(name, sums[name], lines[name] if chosen.exact else "") for name in chosen.names]


def fingerprint(patch: AppliedPatch) -> Fingerprint:
    """What identifies a patch that a checkout holds."""
    return patch.name, patch.sha256, patch.locked


def entry_hash(patch: LockedPatch) -> str:
    return hashlib.sha256("\n".join(touch.line() for touch in patch.touches).encode()).hexdigest()[:16]


def checked_lock(series: Series, pin: Pin, state: State) -> Lock:
    """The series' lock, its files verified. An empty series needs none. The lock speaks of the pin's commit whatever the source."""
    lock = Lock.of(series)
    if (state.source == "git" and not state.base.startswith(pin.commit)) or (state.source == "sdist" and pin.sdist and state.base != pin.sdist.commit):
        raise LockMismatch(f"work/{series.upstream} is on {state.base[:12]}, pins.toml says {pin.commit[:12]}",
                           f"move work/{series.upstream} away (export your commits first), then apply again")
    if lock is None:
        if series.files:
            raise LockMismatch(f"{series.directory} has patches and no series.lock", f"python3 build.py patch lock {series.upstream}")
        return Lock(pin.commit, ())
    lock.check_files(series, pin.commit, [hashlib.sha256(data).hexdigest() for data in series.files.values()])
    return lock
