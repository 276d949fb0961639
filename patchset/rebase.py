"""Rebase: a series from the old pin to a new one, patch by patch, in a scratch repository; the pin moves only when all of it is decided.

The series is made on the old pin, so that every blob a patch was made from exists, and each patch is then merged onto the new base by
contents. A patch that conflicts is parked in ``work/<upstream>@rebase``.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.patchset import apply as applying
from tunefork.patchset import canonical, history, mail, newbase, newpin, pins, repin, replay, sources, switch, variant, work
from tunefork.patchset import checkout as checkouts
from tunefork.patchset import export as exporting
from tunefork.patchset.errors import BadInput, LockMismatch, PatchConflict, WorkAtRisk
from tunefork.patchset.git import EMAIL, NAME, Git
from tunefork.patchset.history import UpstreamCommit
from tunefork.patchset.layout import Layout
from tunefork.patchset.lock import Lock, Touch
from tunefork.patchset.mail import PatchFile
from tunefork.patchset.materialise import ABSENT, Made, Tree, commit_command, materialise, merge_file, write
from tunefork.patchset.newbase import NewBase
from tunefork.patchset.pins import Pin
from tunefork.patchset.process import Say, quiet
from tunefork.patchset.replay import CLEAN, CONFLICT, EMPTY, PARTLY, UPSTREAM, Replay
from tunefork.patchset.series import SUFFIX, Series
from tunefork.patchset.state import write_atomically

SLUG = "rebase"


@dataclass(frozen=True)
class PatchOutcome:
    """What becomes of one patch. outcome: "clean", "upstream", "partly upstream", "empty" or "conflict".

    upstream_commits: those between the pins that touched its lines, and the one that is this patch.  range_diff: how the patch
    changed ("" where it did not, or was not applied).  commit: on the new base, in the scratch repository; None where not applied.
    """

    name: str
    outcome: str
    why: str
    upstream_commits: tuple[UpstreamCommit, ...] = ()
    range_diff: str = ""
    commit: str | None = None


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


@dataclass
class Attempt:
    """A series on its way. made: its commits on the old pin.  taken: patches that the new base has.  tree, tip: how far it is."""

    git: Git
    series: Series
    base: NewBase
    made: list[Made]
    moved: dict[bytes, bytes]
    pristine: Tree
    taken: set[str]
    tree: Tree
    tip: str
    rows: list[PatchOutcome]
    same: dict[str, UpstreamCommit]


def check(layout: Layout, upstream: str, to: str, *, say: Say = quiet) -> Rebased:
    """Try every patch on a new base and change nothing; after a conflict the later patches are tried without that one."""
    begin = time.monotonic()
    pin, series = inputs(layout, upstream, say)
    (layout.cache / "rebase").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{upstream}-", dir=layout.cache / "rebase") as directory:
        git = newbase.scratch(Path(directory) / "repo.git")
        attempt = prepare(git, layout, pin, series, to, say)
        for at in range(len(series.names)):
            step(attempt, at, say)
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
        raise BadInput(f"{upstream}: the rebase was done but for its last step, which is done now", f"python build.py status {upstream}")
    notes_file = progress(layout, upstream)
    if not notes_file.is_file():
        raise BadInput(f"{upstream}: no rebase waits", f"python build.py rebase {upstream} --to <tag, version or folder>")
    pin, series = inputs(layout, upstream, say)
    refuse_work(layout, upstream)
    saved = json.loads(notes_file.read_bytes())
    if saved["series"] != digest(series) or saved["old"] != pin.commit:
        raise BadInput(f"{upstream}: the series or the pin changed since the rebase began",
                       f"python build.py rebase {upstream} --abort, then begin again")
    with checkouts.locked(layout, upstream, say):
        git = Git(repin.folder(layout, upstream) / "repo.git")
        attempt = attempt_on(git, series, revived(saved["base"]), git.text("rev-parse", newbase.OLD_REF), say)
        attempt.rows = [PatchOutcome(**{**row, "upstream_commits": tuple(UpstreamCommit(**each) for each in row["upstream_commits"])})
                        for row in saved["rows"]]  # fmt: skip
        attempt.tip = saved["tip"]
        attempt.tree = Tree.read(git, attempt.tip)
        new, notes = newpin.revived(saved["pin"]), list(saved["notes"])
        take_resolved(layout, attempt)
        onward(layout, pin, new, notes, attempt, say)
        moved = finish(layout, pin, new, notes, attempt, begin, say)
    settle(layout, upstream, say)
    return moved


def abort(layout: Layout, upstream: str, *, say: Say = quiet) -> None:
    """Forget a rebase that is parked: the worktree and the scratch repository go, and nothing else was touched."""
    if repin.recover(layout, upstream, say):
        raise BadInput(f"{upstream}: the rebase was final already and has been completed",
                       "`git checkout -- pins.toml patches/` takes it back")
    if not repin.folder(layout, upstream).exists():
        raise BadInput(f"{upstream}: no rebase waits, nothing to abort", f"python build.py status {upstream}")
    with checkouts.locked(layout, upstream, say):
        forget(layout, upstream)
    say(f"{upstream}: the rebase is forgotten; pin, patches and checkout are as they were")


def inputs(layout: Layout, upstream: str, say: Say) -> tuple[Pin, Series]:
    """The pin and the series, whose files must be the locked ones."""
    repin.recover(layout, upstream, say)
    pin = applying.pin_of(layout, upstream)
    series = Series.load(upstream, layout.series_dir(upstream))
    held = checkouts.primary(layout, upstream).state()
    lock = Lock.load(series.directory)
    if held is not None:
        applying.checked_lock(series, pin, held)
    elif lock is not None:
        lock.check_files(series, pin.commit, [hashlib.sha256(data).hexdigest() for data in series.files.values()])
    elif series.files:
        raise LockMismatch(f"{series.directory} has patches and no series.lock", f"python build.py patch lock {upstream}")
    return pin, series


def digest(series: Series) -> str:
    """What identifies a series: its names, their order and every byte."""
    sums = [(name, hashlib.sha256(data).hexdigest()) for name, data in series.files.items()]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def progress(layout: Layout, upstream: str) -> Path:
    """Written last when a patch is parked: without it a rebase never began."""
    return repin.folder(layout, upstream) / "progress.json"


def refuse_unfinished(layout: Layout, upstream: str) -> None:
    applying.refuse_parked(layout, upstream)
    if progress(layout, upstream).is_file():
        raise PatchConflict(f"{upstream}: a rebase waits in {layout.checkout(upstream, SLUG)}",
                            f"resolve it there, then `python build.py rebase {upstream} --continue`; or `--abort`")


def refuse_work(layout: Layout, upstream: str) -> None:
    """Refuse where a checkout or a variant's branch holds work: on another pin it could not be exported any more."""
    for checkout in checkouts.all_checkouts(layout, upstream):
        switch.recover(checkout, quiet)
        found = work.find(checkout)
        if found.modified or found.unexported or found.operation or found.elsewhere:
            raise WorkAtRisk(f"{checkout.path.name} holds work that is in no patch file ({found.summary()})",
                             f"python build.py patch export {upstream}, or commit or stash it in {checkout.path}, then rebase")
        listed = checkout.git.text("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/tunefork/", "refs/heads/beside/")
        for branch in listed.splitlines():
            if applying.unexported_tip(checkout.git, branch):
                raise WorkAtRisk(f"{upstream}: branch {branch} holds commits that are in no patch file",
                                 f"`git checkout {branch}` in {checkout.path}, then python build.py patch export {upstream}")


def prepare(git: Git, layout: Layout, pin: Pin, series: Series, to: str, say: Say) -> Attempt:
    """Both bases in the scratch repository, and the series on the old one."""
    old = newbase.old_base(git, layout, pin, say)
    base = newbase.resolve(git, layout, pin, to, say)
    attempt = attempt_on(git, series, base, old, say)
    lock = Lock.load(series.directory)
    for each in attempt.made:
        assert lock is not None
        lock.check_touches(each.name, each.touches)
    return attempt


def attempt_on(git: Git, series: Series, base: NewBase, old: str, say: Say) -> Attempt:
    """The series on the old base, and what is known of the new one before the first patch is tried."""
    made = materialise(git, old, list(series.patches.values()))
    changes = [(each.name, replay.changes_of(git, each.commit)) for each in made]
    pristine = Tree.read(git, base.commit)
    paths = [change.old for _, each in changes for change in each]
    before = {line.partition(b"\t")[2] for line in git("ls-tree", "-r", "-z", "--full-tree", old).split(b"\0")}
    moved = replay.moves(git, old, base.commit, (path for path in paths if path in before), pristine.entries)
    taken = replay.taken_upstream(pristine, changes, moved, merge_file(git))
    same = {}
    if base.since:
        say(f"{series.upstream}: looking through the commits between the pins")
        same = history.same_patches(git, base.since, [each.commit for each in made], [*paths, *moved.values()])
    tree = Tree(git, dict(pristine.entries), pristine.contents)
    return Attempt(git, series, base, made, moved, pristine, taken, tree, base.commit, [], same)


def step(attempt: Attempt, at: int, say: Say) -> PatchOutcome:
    """Try one patch and take it where it fits; its outcome is the last of the rows."""
    name = attempt.series.names[at]
    patch, old = attempt.series.patches[name], attempt.made[at].commit
    changes = replay.changes_of(attempt.git, old)
    found = judge(attempt, patch, changes)
    why = [found.why, *remarks(attempt, name, old, found)]
    since, entries = attempt.base.since, attempt.pristine.entries
    commits = history.touching(attempt.git, since, changes, entries, attempt.moved) if since else []
    if known := attempt.same.get(old):
        commits = [known, *(each for each in commits if each.commit != known.commit)]
    row = PatchOutcome(name, found.outcome, "; ".join(why), tuple(commits))
    if found.outcome in (CLEAN, PARTLY):
        commit = take(attempt, patch, found)
        row = replace(row, commit=commit, range_diff=range_diff(attempt.git, old, commit))
    attempt.rows.append(row)
    say(f"{attempt.series.upstream}: {name}: {row.outcome} ({row.why})")
    return row


def judge(attempt: Attempt, patch: PatchFile, changes: Sequence[replay.Change]) -> Replay:
    """Merge a patch into the tree so far, and look at the new base by itself where that leaves a question."""
    merge = merge_file(attempt.git)
    found = replay.replay(attempt.tree, patch, changes, attempt.moved, merge)
    if found.outcome == CONFLICT and patch.name in attempt.taken:
        return replace(found, outcome=UPSTREAM, why="the new base has it, under a later patch that it has too")
    if found.outcome == UPSTREAM and patch.name not in attempt.taken:
        alone = replay.replay(attempt.pristine, patch, changes, attempt.moved, merge)
        if alone.outcome != UPSTREAM:
            return replace(found, outcome=EMPTY, why="earlier patches of the series do all of it on the new base")
    return found


def remarks(attempt: Attempt, name: str, old: str, found: Replay) -> list[str]:
    """What else a reader wants to know of an outcome."""
    said = []
    without = [row.name for row in attempt.rows if row.outcome == CONFLICT and row.commit is None]
    if without:
        said.append(f"tried without {', '.join(without)}, which conflict{'s' if len(without) == 1 else ''}")
    if (known := attempt.same.get(old)) and found.outcome != UPSTREAM:
        revert = attempt.git.text("log", "-1", "--format=%h %s", f"--grep=This reverts commit {known.commit}", *attempt.base.since)
        said.append(f"upstream took it as {known.commit[:12]}" + (f" and reverted it in {revert}" if revert else ""))
    dropped = [row.name for row in attempt.rows if row.outcome in (UPSTREAM, EMPTY)]
    if gone := [each for each in attempt.series.depends_on(name) if each in dropped]:
        said.append(f"no longer depends on {', '.join(gone)}")
    return said


def take(attempt: Attempt, patch: PatchFile, found: Replay) -> str:
    """Commit a replayed patch on the tip."""
    before = {path: attempt.tree.entries.get(path, ABSENT) for path in found.puts}
    replay.apply_to(attempt.tree, found.puts)
    touches = tuple(Touch(before[path][0], entry[0], before[path][1], entry[1], path)
                    for path, entry in sorted(found.puts.items()) if before[path] != entry)  # fmt: skip
    patch = replace(patch, message=message(attempt, patch))
    stream = commit_command(attempt.tree, patch, touches, 1, attempt.tip)
    attempt.tip = write(attempt.git, stream, [(patch, touches)])[0].commit
    return attempt.tip


def message(attempt: Attempt, patch: PatchFile) -> bytes:
    """A patch's message without ``Depends-On`` of patches that are dropped."""
    dropped = {row.name for row in attempt.rows if row.commit is None and row.outcome != CONFLICT}
    lines = []
    for line in patch.message.split(b"\n"):
        match = re.match(rb"(?i)(Depends-On: *)(.+)$", line)
        declared = match[2].decode().replace(",", " ").split() if match else []
        names = [word for word in declared if word.removesuffix(SUFFIX) not in dropped]
        if match is None or names == declared:
            lines.append(line)
        elif names:
            lines.append(match[1] + ", ".join(names).encode())
    return b"\n".join(lines)


def range_diff(git: Git, old: str, new: str) -> str:
    """How a patch changed, as git range-diff shows it; "" where its change and its message are the same."""
    text = git.text("range-diff", "--no-color", "--creation-factor=999", f"{old}^..{old}", f"{new}^..{new}")
    return "" if re.match(r"1:\s+\S+ = 1:", text) else text


def onward(layout: Layout, pin: Pin, new: Pin, notes: list[str], attempt: Attempt, say: Say) -> None:
    """Take the patches that are left; park the first that conflicts and raise PatchConflict."""
    upstream = attempt.series.upstream
    while len(attempt.rows) < len(attempt.series.names):
        row = step(attempt, len(attempt.rows), say)
        if row.outcome == CONFLICT:
            path = park(layout, attempt)
            saved = {"series": digest(attempt.series), "old": pin.commit, "base": asdict(attempt.base), "pin": asdict(new), "notes": notes,
                     "tip": attempt.tip, "rows": [asdict(each) for each in attempt.rows]}  # fmt: skip
            write_atomically(progress(layout, upstream), json.dumps(saved).encode())
            raise PatchConflict(f"{row.name}.patch conflicts on {attempt.base.label}: {row.why}; it waits in {path}",
                                f"resolve the markers, then `python build.py rebase {upstream} --continue`; or `--abort`")


def park(layout: Layout, attempt: Attempt) -> Path:
    """A worktree at the tip with the conflicting patch's change and markers in it."""
    from tunefork.patchset import diff
    from tunefork.patchset.proposal import propose, put

    path = layout.checkout(attempt.series.upstream, SLUG)
    shutil.rmtree(path, ignore_errors=True)
    attempt.git("worktree", "prune")
    attempt.git("worktree", "add", "--quiet", "--force", "--detach", str(path), attempt.tip)
    patch = attempt.series.patches[attempt.rows[-1].name]
    proposals = []
    for change in diff.parse(patch.name, patch.diff):
        if change.old_path not in attempt.tree.entries and change.old_path in attempt.moved:
            there = attempt.moved[change.old_path]
            change = replace(change, old_path=there, new_path=there if change.kind in ("modify", "delete") else change.new_path)  # noqa: PLW2901
        proposals.append(propose(attempt.tree, change, patch.name))
    for each in proposals:
        put(path, each, patch.name)
    return path


def take_resolved(layout: Layout, attempt: Attempt) -> None:
    """Make the parked worktree's content the patch; a patch of which nothing is left is dropped, as upstream's."""
    upstream, row = attempt.series.upstream, attempt.rows.pop()
    path = layout.checkout(upstream, SLUG)
    if not (path / ".git").exists():
        raise PatchConflict(f"{upstream}: {path} is gone, and {row.name} was parked there",
                            f"python build.py rebase {upstream} --abort, then begin again")
    git = Git(path)
    changed = [entry[3:] for entry in git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames").split(b"\0")[:-1]]
    marked = set(git.run("grep", "-l", "-z", "--untracked", "-I", "-e", "^<<<<<<< ", "-e", "^>>>>>>> ").out.split(b"\0"))
    if left := sorted(each.decode("utf-8", "replace") for each in set(changed) & marked):
        raise PatchConflict(f"{path.name}: conflict markers are left in {', '.join(left)}",
                            f"resolve them in {path}, then --continue again; or --abort")
    if git("ls-files", "--unmerged", "-z"):
        raise PatchConflict(f"{path.name}: a file cannot be merged as text, and no side is chosen",
                            f"in {path}: git checkout --ours (the tree's) or --theirs (the patch's), git add; then --continue")
    git("add", "--all", ".")
    tree = git.text("write-tree")
    if tree == git.text("rev-parse", f"{attempt.tip}^{{tree}}"):
        attempt.rows.append(replace(row, outcome=UPSTREAM, why=f"you left nothing of it; {row.why}"))
        return
    patch = attempt.series.patches[row.name]
    author, _, address = patch.author.decode("utf-8", "surrogateescape").rpartition(" <")
    date = patch.date.decode()
    people = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": address.rstrip(">"), "GIT_AUTHOR_DATE": date,
              "GIT_COMMITTER_NAME": NAME, "GIT_COMMITTER_EMAIL": EMAIL, "GIT_COMMITTER_DATE": date}  # fmt: skip
    commit = git("commit-tree", tree, "-p", attempt.tip, "-F", "-", stdin=message(attempt, patch), env=people).decode().strip()
    old = next(each.commit for each in attempt.made if each.name == row.name)
    changed_how = range_diff(attempt.git, old, commit)
    attempt.rows.append(replace(row, outcome=CONFLICT, why=f"resolved by you; {row.why}", commit=commit, range_diff=changed_how))
    attempt.tip = commit
    attempt.tree = Tree.read(attempt.git, commit)


def finish(layout: Layout, pin: Pin, new: Pin, notes: list[str], attempt: Attempt, begin: float, say: Say) -> Rebased:
    """Write the new files, and move pin, series and checkouts in one step."""
    git, upstream, base = attempt.git, attempt.series.upstream, attempt.base
    files = canonical.files(git, base.commit, attempt.tip)
    kept = [row.name for row in attempt.rows if row.commit]
    named = [(name, data) for name, (_, data) in zip(kept, files, strict=True)]
    planned, lock = exporting.plan(attempt.series, named, git, base.commit, new.commit)
    backup = ""
    source = sources.obtain(new, layout, say, "sdist" if base.kind == "sdist" else "git")
    first = checkouts.primary(layout, upstream)
    if first.exists():
        bring_objects(first, source.git_dir)
        made = materialise(first.git, source.commit, [mail.read(name, data) for name, data in named])
        target = made[-1].commit if made else source.commit
        if blocked := switch.collisions(first, switch.difference(first.git, first.head()[1], target)):
            raise work.refuse(first, "untracked files", blocked, "move them away, then rebase again")
        backup = work.keep(first.git, first.head()[1]) if source.commit != attempt.git.text("rev-parse", newbase.OLD_REF) else ""
    written = (*planned.added, *planned.changed)
    texts: dict[str, str | None] = {name + SUFFIX: data.decode("latin-1") for name, data in named if name + SUFFIX in written}
    texts |= dict.fromkeys(planned.removed)
    if "series" in planned.changed:
        texts["series"] = exporting.series_text(attempt.series.directory / "series", kept).encode().decode("latin-1")
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
    held = checkouts.primary(layout, upstream).state()
    if held is None:
        return
    try:
        spec = variant.choose(held.variant, Series.load(upstream, layout.series_dir(upstream))).spec
    except BadInput:
        spec = "all"
    applying.apply(layout, upstream, spec, say=say)


def forget(layout: Layout, upstream: str) -> None:
    """Remove the worktree and the scratch repository."""
    progress(layout, upstream).unlink(missing_ok=True)  # first: half a rebase must not be gone on with
    shutil.rmtree(layout.checkout(upstream, SLUG), ignore_errors=True)
    shutil.rmtree(repin.folder(layout, upstream), ignore_errors=True)


def revived(data: dict[str, Any]) -> NewBase:
    """A NewBase from its JSON."""
    sdist = data["sdist"]
    table = pins.Sdist(**{**sdist, "added": tuple(sdist["added"])}) if sdist else None
    return NewBase(**{**data, "since": tuple(data["since"]), "sdist": table})


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
