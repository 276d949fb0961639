"""Apply a series: load, verify, materialise, move the checkout. Every step is a function of its inputs except the last."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunefork.base.errors import BadInput, LockMismatch, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import repin, state, switch, work
from tunefork.patchset.checkout.applied import AppliedTree, from_state
from tunefork.patchset.checkout.checkout import Checkout, applied_ref
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.git import Git
from tunefork.patchset.series import picks, variant
from tunefork.patchset.series.lock import Lock, LockedPatch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Made, Mismatch, materialise, merge_file
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import Variant
from tunefork.patchset.sources import pins, sources
from tunefork.patchset.sources.pins import Pin

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
            before = checkouts.create(layout, pin, sources.obtain(pin, layout, say), say).state()
        lock = checked_lock(series, pin, before or state_of_primary(layout, upstream))
        if checkout.exists():
            switch.recover(checkout, say)
        wanted = fingerprint(series, chosen, lock)
        if before is None or not unchanged(checkout, before, chosen, wanted) or discard:
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
                            f"resolve it there, then `python build.py apply {upstream} --continue`; or `--abort`")


def checked_lock(series: Series, pin: Pin, held: State) -> Lock:
    """The series' lock, its files verified. An empty series needs none. The lock speaks of the pin's commit whatever the source."""
    lock = Lock.load(series.directory)
    if (held.source == "git" and held.base != pin.commit) or (held.source == "sdist" and pin.sdist and held.base != pin.sdist.commit):
        raise LockMismatch(f"work/{series.upstream} is on {held.base[:12]}, pins.toml says {pin.commit[:12]}",
                           f"move work/{series.upstream} away (export your commits first), then apply again")
    if lock is None:
        if series.files:
            raise LockMismatch(f"{series.directory} has patches and no series.lock", f"python build.py patch lock {series.upstream}")
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


def bring(
    layout: Layout, pin: Pin, series: Series, chosen: Variant, lock: Lock, checkout: Checkout, *, discard: bool, say: Say
) -> tuple[State, int]:
    """Materialise a variant and move its checkout there. Returns the new state and how many files changed."""
    base = state_of_primary(layout, pin.name)
    git = checkouts.primary(layout, pin.name).git
    patches = compose(layout, git, series, chosen, lock, base, say=say)
    commit = patches[-1].commit if patches else base.base
    branch = checkout.branch(chosen.slug)
    if not checkout.whole():
        guard_branch(git, checkout, branch, discard=discard, say=say)
        checkouts.create_beside(layout, checkout, base, commit, say)
    if discard:
        keep_tip(git, checkout, branch, say)
        if work.find(checkout) or switch.collisions(checkout, switch.difference(git, checkout.head()[1], commit)):
            switch.discard(checkout, commit, say)
    else:
        refuse_unexported(checkout, branch)
    changed = switch.move(checkout, commit, branch, say)
    after = State(chosen.spec, branch, base.source, base.base, base.base_tree, chosen.exact, tuple(patches))
    state.save(checkout.state_file, after)
    return after, changed


def compose(
    layout: Layout, git: Git, series: Series, chosen: Variant, lock: Lock, base: State, *, say: Say = quiet
) -> list[AppliedPatch]:
    """The variant's patches as commits: what any checkout already holds is reused, the rest is made and verified."""
    wanted = fingerprint(series, chosen, lock)
    kept = reusable(layout, git, series.upstream, base.base, wanted, exact=chosen.exact)
    missing = [name for name, _, _ in wanted[len(kept) :]]
    series = picks.obtained(series, pin_of(layout, series.upstream), git, missing, say=say)
    rest = [series.patches[name] for name in missing]
    start = kept[-1].commit if kept else base.base
    if chosen.exact:
        made = materialise(git, start, rest)
        for each in made:
            lock.check_touches(each.name, each.touches)
    else:
        if rest:  # the blobs that the merge starts from exist once the whole series does
            compose(layout, git, series, variant.choose("all", series), lock, base, say=say)
        made = merged(git, start, rest, chosen)
    sums = {name: (sha256, locked) for name, sha256, locked in wanted}
    return [*kept, *(AppliedPatch(each.name, sums[each.name][0], each.commit, each.tree, sums[each.name][1]) for each in made)]


def merged(git: Git, start: str, rest: Sequence[PatchFile], chosen: Variant) -> list[Made]:
    """Patches taken out of their order, merged three-way; a conflict is a dependency that nobody declared."""
    try:
        return materialise(git, start, rest, merge_file(git))
    except Mismatch as mismatch:
        raise PatchConflict(
            f"{chosen.spec}: {mismatch.message}; {mismatch.patch.name} needs a patch that this variant leaves out",
            f"declare it in {mismatch.patch.name}.patch (`Depends-On: <patch>`), or use upto:{mismatch.patch.name}",
        ) from None


def reusable(
    layout: Layout, git: Git, upstream: str, base: str, wanted: list[tuple[str, str, str]], *, exact: bool
) -> list[AppliedPatch]:
    """The longest beginning of ``wanted`` that a checkout of this upstream already holds as commits."""
    best: list[AppliedPatch] = []
    for checkout in checkouts.all_checkouts(layout, upstream):
        held = checkout.state()
        if held is None or held.base != base or held.exact != exact:
            continue
        same = 0
        while same < min(len(held.patches), len(wanted)) and key(held.patches[same]) == wanted[same]:
            same += 1
        if not exact and same != len(wanted):  # a merged commit is what it is only in its own list
            same = 0
        if same > len(best) and git.answer("cat-file", "-e", f"{held.patches[same - 1].commit}^{{commit}}") is not None:
            best = list(held.patches[:same])
    return best


def key(patch: AppliedPatch) -> tuple[str, str, str]:
    return patch.name, patch.sha256, patch.locked


def refuse_unexported(checkout: Checkout, branch: str) -> None:
    """Refuse to move a checkout away from commits that only its branch holds, or from a git operation in progress."""
    found = work.find(checkout, files=False)
    name = checkout.upstream
    if found.operation:
        raise WorkAtRisk(f"{checkout.path.name}: a {found.operation} is in progress",
                         f"finish or abort it in {checkout.path}, or add --discard, which keeps a backup ref")
    if found.unexported:
        raise work.refuse(checkout, "unexported commits", found.unexported,
                          f"python build.py patch export {name}; or add --discard, which keeps a backup ref")
    if found.elsewhere.startswith("detached"):
        raise WorkAtRisk(f"{checkout.path.name} is {found.elsewhere}, a commit that no branch need hold",
                         f"`git branch my-work` in {checkout.path} keeps it, then `git checkout` a branch; or add --discard")
    if branch != checkout.head()[0] and (tip := unexported_tip(checkout.git, branch)):  # HEAD's own branch was looked at above
        raise work.refuse(checkout, f"unexported commits on {branch}", [tip[:12]],
                          f"`git checkout {branch}` in {checkout.path}, then python build.py patch export {name}; or add --discard")


def unexported_tip(git: Git, branch: str) -> str | None:
    """The tip of a variant's branch where it holds commits that no patch file does; None otherwise."""
    tip = git.answer("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    return tip if tip and tip != git.answer("rev-parse", "--verify", "--quiet", applied_ref(branch)) else None


def keep_tip(git: Git, checkout: Checkout, branch: str, say: Say) -> None:
    """Before --discard moves a branch that HEAD is not on: its unexported commits under a backup ref."""
    tip = unexported_tip(git, branch)
    if tip and not (checkout.exists() and tip == checkout.head()[1]):
        ref = work.keep(git, tip)
        say(f"{checkout.path.name}: discarded the commits of {branch}; to have them back: git -C {git.directory} checkout {ref}")


def guard_branch(git: Git, checkout: Checkout, branch: str, *, discard: bool, say: Say) -> None:
    """A worktree that was deleted by hand is made anew, but not over the commits of its branch."""
    if discard:
        keep_tip(git, checkout, branch, say)
    elif tip := unexported_tip(git, branch):
        raise WorkAtRisk(f"{checkout.path.name} is gone, and its branch {branch} holds unexported commits ({tip[:12]})",
                         f"`git -C {git.directory} worktree add -f {checkout.path} {branch}` brings it back; "
                         "or add --discard, which keeps a backup ref")


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
