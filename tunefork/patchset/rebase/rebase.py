"""Rebase: a series from the old pin to a new one, patch by patch, in a scratch repository; the pin moves only when all of it is decided.

The series is made on the old pin, so that every blob a patch was made from exists, and each patch is then merged onto the new base by
contents. A patch that conflicts is parked in ``work/<upstream>@rebase``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput, LockMismatch, PatchConflict, WorkAtRisk
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.base.transaction import Damaged, text_of
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.checkout import repin, switch, waits, work
from tunefork.patchset.checkout.bring import unexported_tip
from tunefork.patchset.checkout.workspace import checked_lock
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import newbase, newpin
from tunefork.patchset.rebase.attempt import Attempt, PatchOutcome, attempt_on, step
from tunefork.patchset.rebase.attempt import settle as settle_attempt
from tunefork.patchset.rebase.history import UpstreamCommit
from tunefork.patchset.rebase.newbase import NewBase
from tunefork.patchset.rebase.resolve import SLUG, park, take_resolved
from tunefork.patchset.series import canonical, picks, variant
from tunefork.patchset.series.lock import Lock
from tunefork.patchset.series.materialise import Tree, materialise
from tunefork.patchset.series.replay import CONFLICT
from tunefork.patchset.series.series import SUFFIX, Series
from tunefork.patchset.sources import pins, sources
from tunefork.patchset.sources.pins import Pin


@dataclass(frozen=True)
class Rebased:
    """A rebase, tried or done. old, new: tags.  base: the commit that the series is on.  no_history: why upstream_commits are empty.

    pin: what pins.toml now says (None for a trial).  backup: the ref of the checkout's old state.
    """

    upstream: str
    old: str
    new: str
    source: str
    base: str
    sha256: str
    checked: bool
    patches: tuple[PatchOutcome, ...]
    no_history: str
    notes: tuple[str, ...]
    tree: str
    pin: Pin | None
    backup: str
    seconds: float

    @property
    def conflicts(self) -> tuple[str, ...]:
        return tuple(patch.name for patch in self.patches if patch.outcome == CONFLICT)


@dataclass(frozen=True)
class Saved:
    """A rebase that waits for its author. series: digest of the one it began with.  old: the commit it began on.  tip: of what is done.

    left: what was left in the worktree (waits.snapshot).
    """

    series: str
    old: str
    base: NewBase
    pin: Pin
    notes: tuple[str, ...]
    tip: str
    rows: tuple[PatchOutcome, ...]
    left: str = ""

    @classmethod
    def revived(cls, data: dict[str, Any]) -> Saved:
        """From its JSON."""
        return cls(data["series"], data["old"], revived(data["base"]), pins.revived(data["pin"]), tuple(data["notes"]), data["tip"],
                   tuple(map(revived_row, data["rows"])), str(data.get("left", "")))


def check(layout: Layout, upstream: str, to: str, *, say: Say = quiet) -> Rebased:
    """Try every patch on a new base and change nothing; after a conflict the later patches are tried without that one."""
    begin = time.monotonic()
    pin, series = inputs(layout, upstream, say)
    (layout.cache / "rebase").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{upstream}-", dir=layout.cache / "rebase") as directory:
        git = newbase.scratch(Path(directory) / "repo.git")
        attempt = prepare(git, layout, pin, series, to, say)
        for at in range(len(series.names)):
            step(attempt, at, say, later=True)
        settle_attempt(attempt)
        return report(attempt, pin, begin, checked=True)


def start(layout: Layout, upstream: str, to: str, *, commit: str = "", say: Say = quiet) -> Rebased:
    """Rebase a series and move the pin. commit: of the tag that a source distribution was made from, where git cannot be asked.

    Raises PatchConflict with the patch parked; WorkAtRisk where a checkout holds work that is in no patch file.
    """
    begin = time.monotonic()
    pin, series = inputs(layout, upstream, say)
    refuse_unfinished(layout, upstream)
    refuse_work(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        forget(layout, upstream)
        git = newbase.scratch(repin.folder(layout, upstream) / "repo.git")
        try:
            attempt = prepare(git, layout, pin, series, to, say)
            new, notes = newpin.pin_for(git, layout, pin, attempt.base, commit, say)
            onward(layout, pin, new, notes, attempt, say)
            moved = finish(layout, pin, new, notes, attempt, begin, say)
        except PatchConflict:
            raise
        except BaseException:
            forget(layout, upstream)
            raise
    settle(layout, upstream, say)
    return moved


def go_on(layout: Layout, upstream: str, *, say: Say = quiet) -> Rebased:
    """Take the resolved worktree as the parked patch's new content and go on with the rest."""
    begin = time.monotonic()
    if repin.recover(layout, upstream, say):
        settle(layout, upstream, say)
        raise BadInput(f"{upstream}: the rebase was done but for its last step, which is done now", f"python3 build.py status {upstream}")
    waiting = repin.rebasing(layout, upstream)
    if not waiting.under_way:
        raise BadInput(f"{upstream}: no rebase waits", f"python3 build.py rebase {upstream} --to <tag, version or folder>")
    pin, series = inputs(layout, upstream, say)
    refuse_work(layout, upstream)
    saved = waiting.read(Saved.revived, f"python3 build.py rebase {upstream} --abort, then begin again")
    assert saved is not None
    if saved.series != digest(series) or saved.old != pin.commit:
        raise BadInput(f"{upstream}: the series or the pin changed since the rebase began",
                       f"python3 build.py rebase {upstream} --abort, then begin again")
    with checkouts.locked(layout, upstream, say):
        mended(layout, upstream)
        if not waits.usable(worktree(layout, upstream)):
            raise PatchConflict(f"{upstream}: what waited in {layout.checkout(upstream, SLUG)} is gone, or the repository that it belongs to",
                                f"python3 build.py rebase {upstream} --abort, then begin again")
        git = Git(repin.folder(layout, upstream) / "repo.git")
        series = picks.obtained(series, pin, git, say=say)
        attempt = attempt_on(git, series, saved.base, git.text("rev-parse", newbase.OLD_REF), say)
        attempt.rows = list(saved.rows)
        attempt.tip = saved.tip
        attempt.tree = Tree.read(git, attempt.tip)
        new, notes = saved.pin, list(saved.notes)
        waits.refuse_untracked(worktree(layout, upstream), saved.left)
        take_resolved(layout, attempt)
        onward(layout, pin, new, notes, attempt, say)
        moved = finish(layout, pin, new, notes, attempt, begin, say)
    settle(layout, upstream, say)
    return moved


def abort(layout: Layout, upstream: str, *, say: Say = quiet) -> str:
    """Forget a rebase that is parked: the worktree and the scratch repository go, and nothing else was touched.

    What was resolved stays under a backup ref of the checkout, which is returned ("" for none).
    """
    if repin.recover(layout, upstream, say):
        raise BadInput(f"{upstream}: the rebase was final already and has been completed",
                       "`git checkout -- pins.toml patches/` takes it back")
    if not repin.folder(layout, upstream).exists():
        raise BadInput(f"{upstream}: no rebase waits, nothing to abort", f"python3 build.py status {upstream}")
    with checkouts.locked(layout, upstream, say):
        if ref := kept(layout, upstream, say):
            say(f"{upstream}: what was resolved: {ref} (python3 build.py backup {work.name_of(ref)})")
        forget(layout, upstream)
    say(f"{upstream}: the rebase is forgotten; pin, patches and checkout are as they were")
    return ref


def worktree(layout: Layout, upstream: str) -> checkouts.Checkout:
    return checkouts.Checkout(upstream, layout.checkout(upstream, SLUG), SLUG)


def mended(layout: Layout, upstream: str) -> None:
    """Join worktree, scratch repository and the checkouts' objects again, after the project's folder was moved or copied."""
    first, repository = checkouts.primary(layout, upstream), repin.folder(layout, upstream) / "repo.git"
    if repository.is_dir():
        checkouts.mend_links(first, layout.checkout(upstream, SLUG), repository)
        if first.exists():
            newbase.borrow(Git(repository), [first.repository])


def kept(layout: Layout, upstream: str, say: Say) -> str:
    """What the author did in a rebase that waits, as a backup in the checkout's repository; "" where nothing was done.

    WorkAtRisk where there is no checkout to keep it in.
    """
    here = worktree(layout, upstream)
    mended(layout, upstream)
    if not waits.usable(here):
        waits.set_aside(here, say)
        return ""
    waits.say_ignored(here, say)
    try:
        saved = repin.rebasing(layout, upstream).read(Saved.revived, "")
        if saved is None:
            return ""
        by_hand, left, tip = any(row.outcome == CONFLICT for row in saved.rows[:-1]), saved.left, saved.tip
    except Damaged:  # what was left there is not known: all of it is kept
        by_hand, left, tip = False, "", "HEAD"
    there = waits.kept(here, left)
    if not there and not by_hand:
        return ""
    first, scratch = checkouts.primary(layout, upstream), Git(repin.folder(layout, upstream) / "repo.git")
    if not first.exists():
        raise WorkAtRisk(f"{upstream} has no checkout, which would keep what you resolved", f"python3 build.py apply {upstream}, then --abort again")
    tip = scratch.text("rev-parse", there or tip)
    scratch("update-ref", "refs/heads/aborted", tip)
    ref = there or f"{work.BACKUPS}/{work.stamp()}-{tip[:8]}"
    first.git("fetch", "--quiet", "--no-tags", "--update-shallow", "--force", str(scratch.directory), f"+refs/heads/aborted:{ref}")
    return ref


def inputs(layout: Layout, upstream: str, say: Say) -> tuple[Pin, Series]:
    """The pin and the series, whose files must be the locked ones."""
    repin.recover(layout, upstream, say)
    pin = pins.pin_of(layout, upstream)
    series = Series.load(upstream, layout.series_dir(upstream))
    state = checkouts.primary(layout, upstream).state()
    lock = Lock.of(series)
    if state is not None:
        checked_lock(series, pin, state)
    elif lock is not None:
        lock.check_files(series, pin.commit, [hashlib.sha256(data).hexdigest() for data in series.files.values()])
    elif series.files:
        raise LockMismatch(f"{series.directory} has patches and no series.lock", f"python3 build.py patch lock {upstream}")
    return pin, series


def digest(series: Series) -> str:
    """What identifies a series: its names, their order and every byte."""
    sums = [(name, hashlib.sha256(data).hexdigest()) for name, data in series.files.items()]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def refuse_unfinished(layout: Layout, upstream: str) -> None:
    checkouts.refuse_parked(layout, upstream)
    if repin.rebasing(layout, upstream).under_way:
        raise PatchConflict(f"{upstream}: a rebase waits in {layout.checkout(upstream, SLUG)}",
                            f"resolve it there, then `python3 build.py rebase {upstream} --continue`; or `--abort`")
    repin.refuse_edit(layout, upstream)


def refuse_work(layout: Layout, upstream: str) -> None:
    """Refuse where a checkout or a variant's branch holds work: on another pin it could not be exported any more."""
    for checkout in checkouts.all_checkouts(layout, upstream):
        switch.recover(checkout, quiet)
        found = work.find(checkout)
        if found.modified or found.unexported or found.operation or found.elsewhere:
            raise WorkAtRisk(f"{checkout.path.name} holds work that is in no patch file ({found.summary()})",
                             f"python3 build.py patch export {upstream}, or commit or stash it in {checkout.path}, then rebase")
        listed = checkout.git.text("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/tunefork/", "refs/heads/beside/")
        for branch in listed.splitlines():
            if unexported_tip(checkout.git, branch):
                raise WorkAtRisk(f"{upstream}: branch {branch} holds commits that are in no patch file",
                                 f"`git checkout {branch}` in {checkout.path}, then python3 build.py patch export {upstream}")


def prepare(git: Git, layout: Layout, pin: Pin, series: Series, to: str, say: Say) -> Attempt:
    """Both bases in the scratch repository, and the series on the old one."""
    old = newbase.old_base(git, layout, pin, say)
    base = newbase.resolve(git, layout, pin, to, say)
    attempt = attempt_on(git, picks.obtained(series, pin, git, say=say), base, old, say)
    lock = Lock.of(series)
    for each in attempt.made:
        assert lock is not None
        lock.check_touches(each.name, each.touches)
    return attempt


def onward(layout: Layout, pin: Pin, new: Pin, notes: list[str], attempt: Attempt, say: Say) -> None:
    """Take the patches that are left; park the first that conflicts and raise PatchConflict."""
    upstream = attempt.series.upstream
    while len(attempt.rows) < len(attempt.series.names):
        row = step(attempt, len(attempt.rows), say)
        if row.outcome == CONFLICT:
            path = park(layout, attempt)
            left = waits.snapshot(worktree(layout, upstream))
            saved = Saved(digest(attempt.series), pin.commit, attempt.base, new, tuple(notes), attempt.tip, tuple(attempt.rows), left)
            repin.rebasing(layout, upstream).step(asdict(saved))
            raise PatchConflict(f"{row.name}.patch conflicts on {attempt.base.label}: {row.why}; it waits in {path}",
                                f"resolve the markers, then `python3 build.py rebase {upstream} --continue`; or `--abort`")


def finish(layout: Layout, pin: Pin, new: Pin, notes: list[str], attempt: Attempt, begin: float, say: Say) -> Rebased:
    """Write the new files, and move pin, series and checkouts in one step."""
    git, upstream, base = attempt.git, attempt.series.upstream, attempt.base
    files = canonical.files(git, base.commit, attempt.tip)
    kept = [row.name for row in attempt.rows if row.commit]
    named = picks.kept(attempt.series, git, ((name, commit, data) for name, (commit, data) in zip(kept, files, strict=True)))
    planned, lock = exporting.plan(attempt.series, named, git, base.commit, new.commit)
    backup = ""
    source = sources.obtain(new, layout, say, "sdist" if base.kind == "sdist" else "git")
    first = checkouts.primary(layout, upstream)
    if first.exists():
        switch.require_free_index(first)
        bring_objects(first, source.git_dir)
        here = picks.obtained(replace(attempt.series, obtained={}), pin, first.git, say=say)
        moved = materialise(first.git, source.commit, [picks.patch_of(here, name, data) for name, data in named])
        target = moved[-1].commit if moved else source.commit
        if blocked := switch.collisions(first, switch.difference(first.git, first.head()[1], target)):
            raise work.refuse(first, "untracked files", blocked, "move them away, then rebase again")
        backup = work.keep(first.git, first.head()[1]) if source.commit != attempt.git.text("rev-parse", newbase.OLD_REF) else ""
    written = (*planned.added, *planned.changed)
    texts: dict[str, str | None] = {name + SUFFIX: text_of(data) for name, data in named if name + SUFFIX in written}
    texts |= dict.fromkeys(planned.removed)
    if "series" in planned.changed:
        texts["series"] = text_of(exporting.series_text(attempt.series.directory / "series", dict(named)).encode())
    if "series.lock" in planned.changed:
        texts["series.lock"] = lock.text()
    tree = Git(source.git_dir).text("rev-parse", f"{source.commit}^{{tree}}")
    done = report(attempt, pin, begin, checked=False, new=new, backup=backup, notes=notes)
    repin.commit(layout, repin.Move(new, texts, source.kind, source.commit, tree))
    return done


def bring_objects(first: checkouts.Checkout, cache: Path) -> None:
    """The new base's objects into the checkouts' repository; where its history is cut stays cut."""
    shallow = first.repository / "shallow"
    had = shallow.read_text().split() if shallow.is_file() else []
    checkouts.borrow_objects(cache, first.repository)
    if had and shallow.is_file():
        write_atomically(shallow, "".join(f"{each}\n" for each in dict.fromkeys([*had, *shallow.read_text().split()])).encode())


def settle(layout: Layout, upstream: str, say: Say) -> None:
    """Bring the checkout's files to the new pin: to the variant it held, or to all where that names a patch that is gone."""
    state = checkouts.primary(layout, upstream).state()
    if state is None:
        return
    try:
        spec = variant.choose(state.variant, Series.load(upstream, layout.series_dir(upstream))).spec
    except BadInput:
        spec = "all"
    applying.apply(layout, upstream, spec, say=say)


def forget(layout: Layout, upstream: str) -> None:
    """Remove the worktree and the scratch repository."""
    repin.rebasing(layout, upstream).end()  # first: half a rebase must not be gone on with
    shutil.rmtree(layout.checkout(upstream, SLUG), ignore_errors=True)
    shutil.rmtree(repin.folder(layout, upstream), ignore_errors=True)


def revived(data: dict[str, Any]) -> NewBase:
    """A NewBase from its JSON."""
    return NewBase(**{**data, "since": tuple(data["since"]), "sdist": pins.revived_sdist(data["sdist"])})


def revived_row(data: dict[str, Any]) -> PatchOutcome:
    """A PatchOutcome from its JSON."""
    return PatchOutcome(**{**data, "upstream_commits": tuple(UpstreamCommit(**each) for each in data["upstream_commits"])})


def report(
    attempt: Attempt, pin: Pin, begin: float, *, checked: bool, new: Pin | None = None, backup: str = "", notes: Sequence[str] = ()
) -> Rebased:
    """The rebase as an object."""
    base = attempt.base
    return Rebased(
        upstream=pin.name, old=pin.tag, new=base.label, source=base.kind, base=base.commit, sha256=base.sdist.sha256 if base.sdist else "",
        checked=checked, patches=tuple(attempt.rows), no_history=base.no_history, notes=tuple(notes),
        tree=attempt.git.text("rev-parse", f"{attempt.tip}^{{tree}}"), pin=new, backup=backup, seconds=round(time.monotonic() - begin, 3),
    )  # fmt: skip
