"""A carried stack made the series: what changed is formatted and read back, then files, lock and checkout change in one step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tunefork.base.errors import BadInput, TuneforkError, WorkAtRisk
from tunefork.base.process import Say
from tunefork.base.transaction import text_of
from tunefork.patchset.author.carry import kept
from tunefork.patchset.author.stack import Draft, Stack
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.checkout import repin, state, switch, work
from tunefork.patchset.checkout.repin import Follow, Move
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.checkout.workspace import entry_hash
from tunefork.patchset.series import canonical, mail, variant
from tunefork.patchset.series.lock import FILE, Lock, LockedPatch
from tunefork.patchset.series.materialise import Made, Mismatch, materialise
from tunefork.patchset.series.series import SUFFIX, Series

RUNS = 8  # stretches of changed patches that are formatted one by one; more are formatted as one


@dataclass(frozen=True)
class Authored:
    """What a command did to a series, or under dry_run would do. Files are relative to the series' folder.

    tree: the tree that the whole series makes.  backups: refs that keep what was taken out.  notes: what the author should know.
    """

    upstream: str
    action: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    tree: str
    dry_run: bool
    backups: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def same(self) -> bool:
        return not (self.added or self.changed or self.removed)


@dataclass(frozen=True)
class Planned:
    """The new series, not yet written. files: of every patch, in order."""

    files: dict[str, bytes]
    lock: Lock
    texts: dict[str, str | None]
    report: Authored


def planned(stack: Stack, action: str, drafts: Sequence[Draft], made: Sequence[Made], *, dry_run: bool = False) -> Planned:
    """The files and the lock of a carried stack; what did not change keeps its bytes, what did is read back to the same commits."""
    begin = kept(stack, drafts)
    known = {each.commit: each.name for each in stack.patches}
    files: dict[str, bytes] = {}
    todo: list[int] = []
    for at, (draft, each) in enumerate(zip(drafts, made, strict=True)):
        name = known.get(draft.commits[0]) if len(draft.commits) == 1 else None
        if at < begin or (name and each.touches == stack.by_commit[draft.commits[0]].touches and same_words(stack, name, draft)):
            files[draft.name] = stack.series.files[name or draft.name]
        elif name and name == draft.name and still_picked(stack, name, made, at):
            files[name] = stack.series.files[name]
        else:
            files[draft.name] = b""
            todo.append(at)
    for first, last in runs(todo):
        files |= formatted(stack, made, first, last)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    lock = Lock(stack.pin.commit, tuple(LockedPatch(each.name, sums[each.name], each.touches) for each in made))
    renamed = {known[draft.commits[0]]: draft.name for draft in drafts
               if len(draft.commits) == 1 and known.get(draft.commits[0], draft.name) != draft.name}  # fmt: skip
    return Planned(files, lock, *difference(stack, action, files, lock, made, renamed, dry_run=dry_run))


def same_words(stack: Stack, name: str, draft: Draft) -> bool:
    """Whether a draft says what the file of a patch says."""
    file = stack.series.patches[name]
    return (file.author, file.date, file.message) == (draft.author, draft.date, draft.message)


def still_picked(stack: Stack, name: str, made: Sequence[Made], at: int) -> bool:
    """Whether a line that picks an upstream commit makes this very commit at its new place."""
    if name not in stack.series.picks:
        return False
    below = made[at - 1].commit if at else stack.state.base
    try:
        again = materialise(stack.git, below, [stack.series.patches[name]])
    except Mismatch:
        return False
    return again[0].commit == made[at].commit


def runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches of neighbouring places, as (first, last)."""
    found: list[tuple[int, int]] = []
    for at in places:
        if found and found[-1][1] == at - 1:
            found[-1] = (found[-1][0], at)
        else:
            found.append((at, at))
    return found if len(found) <= RUNS else [(found[0][0], found[-1][1])]


def formatted(stack: Stack, made: Sequence[Made], first: int, last: int) -> dict[str, bytes]:
    """The canonical files of a stretch of commits, read back and made again: the same commits, or they are not written."""
    below = made[first - 1].commit if first else stack.state.base
    part = made[first : last + 1]
    data = [text for _, text in canonical.files(stack.git, below, part[-1].commit)]
    again = materialise(stack.git, below, [mail.read(each.name, text) for each, text in zip(part, data, strict=True)])
    if [each.commit for each in again] != [each.commit for each in part]:
        odd = next(each.name for each, other in zip(part, again, strict=True) if each.commit != other.commit)
        raise TuneforkError(f"{odd}: its canonical file makes another commit", "this is a bug: please report it with the patch")
    return {each.name: text for each, text in zip(part, data, strict=True)}


def difference(
    stack: Stack, action: str, files: dict[str, bytes], lock: Lock, made: Sequence[Made], renamed: dict[str, str], *, dry_run: bool
) -> tuple[dict[str, str | None], Authored]:
    """What is to be written: name in the series' folder -> text (None deletes); and the report of it."""
    old = stack.series
    added = [name for name in files if name not in old.files]
    changed = [name for name, data in files.items() if name in old.files and old.files[name] != data]
    unpicked = [name for name in changed if name in old.picks]
    removed = [name for name in old.names if name not in files]
    texts: dict[str, str | None] = {name + SUFFIX: text_of(files[name]) for name in (*added, *changed)}
    texts |= dict.fromkeys(name + SUFFIX for name in removed)
    other = []
    if list(files) != old.names or unpicked:
        texts["series"] = text_of(exporting.series_text(old.directory / "series", files, renamed).encode())
        other.append("series")
    if lock.text() != stack.lock.text():
        texts[FILE] = lock.text()
        other.append(FILE)
    tree = made[-1].tree if made else stack.state.base_tree
    ends = [tuple(name + SUFFIX for name in names) for names in (added, changed, removed)]
    return texts, Authored(stack.upstream, action, ends[0], (*ends[1], *other), ends[2], tree, dry_run)


def conclude(stack: Stack, plan: Planned, made: Sequence[Made], say: Say, *, follow: bool = False, hold: str = "") -> Callable[[], None]:
    """Make a plan the series. follow: the checkout's files hold the new tree already, as its work. hold: "all" for a checkout that
    is to hold the whole series, whatever it holds now. Returns what is left to do unlocked.

    WorkAtRisk before anything changes, where the checkout cannot be brought along.
    """
    check_strangers(stack.series, plan.report)
    tip = made[-1].commit if made else stack.state.base
    spec = hold or stack.state.variant
    whole, branch = spec == "all", stack.checkout.branch("all") if hold else stack.state.branch
    if follow:
        switch.require_free_index(stack.checkout)
    else:
        check_movable(stack, tip if whole else None)
    files = plan.texts
    to = Follow(stack.state.branch, stack.checkout.head()[1], tip) if follow else None
    repin.commit(stack.layout, Move(stack.pin, files, stack.state.source, stack.state.base, stack.state.base_tree, to))
    if not whole:
        return lambda: settle(stack, spec, say)
    if not follow:
        switch.move(stack.checkout, tip, branch, say)
    state.save(stack.checkout.state_file, new_state(replace(stack.state, variant=spec, branch=branch), plan, made))
    return lambda: None


def new_state(before: State, plan: Planned, made: Sequence[Made]) -> State:
    """What the primary checkout holds after it moved to the tip."""
    entries = {patch.name: patch for patch in plan.lock.patches}
    patches = tuple(AppliedPatch(each.name, entries[each.name].sha256, each.commit, each.tree, entry_hash(entries[each.name]))
                    for each in made)  # fmt: skip
    return State(before.variant, before.branch, before.source, before.base, before.base_tree, before.exact, patches)


def check_strangers(series: Series, report: Authored) -> None:
    """A new patch must not take the place of a file that no line of the series names."""
    for name in report.added:
        if (series.directory / name).exists():
            raise WorkAtRisk(f"{series.directory / name} is there already, and no line of the series names it",
                             "move it away, or take another name")


def check_movable(stack: Stack, tip: str | None) -> None:
    """Refuse before anything changes where the checkout's files cannot follow. tip: None where only an apply finds out what they become."""
    path = stack.checkout.path
    switch.require_free_index(stack.checkout)
    advice = (f"`git stash` in {path} (`git stash pop` afterwards), or take them into a patch: "
              f"python3 build.py patch refresh --upstream {stack.upstream}")  # fmt: skip
    if tip is None:
        if modified := work.find(stack.checkout).modified:
            raise work.refuse(stack.checkout, "uncommitted changes", modified, advice)
        return
    paths = switch.difference(stack.git, stack.checkout.head()[1], tip)
    with switch.on_index_copy(stack.checkout) as git:
        switch.refuse_hidden(stack.checkout, "then commit, stash or refresh it", switch.hidden(git, paths))
        modified_here = [each for each in switch.modified_of(git, paths) if each in paths]
    if modified_here:
        raise work.refuse(stack.checkout, "uncommitted changes", [each.decode("utf-8", "surrogateescape") for each in modified_here], advice)
    if blocked := switch.collisions(stack.checkout, paths):
        raise work.refuse(stack.checkout, "untracked files", blocked, f"move them away ({path}), then run this again")


def settle(stack: Stack, spec: str, say: Say) -> None:
    """Bring a checkout that holds a part of the series to the same part of the new one, or to all where that names a patch that is gone."""
    try:
        spec = variant.choose(spec, Series.load(stack.upstream, stack.layout.series_dir(stack.upstream))).spec
    except BadInput:
        spec = "all"
    applying.apply(stack.layout, stack.upstream, spec, say=say)


def keep(stack: Stack, name: str) -> str:
    """Keep a patch that leaves the series under a ref, by which it can be had back. Returns the ref."""
    ref = f"refs/tunefork/dropped/{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}/{name}"
    stack.git("update-ref", ref, stack.commit(name))
    return ref
