"""A series on its way to a new base: each patch tried in turn in the scratch repository, and taken where it fits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tunefork.base.errors import first_line
from tunefork.base.process import Say
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import history
from tunefork.patchset.rebase.history import UpstreamCommit
from tunefork.patchset.rebase.newbase import NewBase
from tunefork.patchset.series import diff, replay
from tunefork.patchset.series.lock import Touch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import ABSENT, Made, Tree, commit_command, materialise, merge_file, write
from tunefork.patchset.series.replay import CLEAN, CONFLICT, EMPTY, EXACT, PARTLY, UPSTREAM, Replay
from tunefork.patchset.series.series import SUFFIX, Series


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


@dataclass
class Attempt:
    """A series on its way. made: its commits on the old pin.  taken: patches that the new base has.  tree, tip: how far it is.

    arrived: content that came with the new base -> a path where the old base had not got it.  changes: what each commit of ``made`` does.
    waiting: patches that were taken and have no commit yet, with what they touch, and fast-import's commands for them.
    """

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
    arrived: dict[replay.Entry, bytes]
    changes: dict[str, list[replay.Change]]
    waiting: list[tuple[PatchFile, tuple[Touch, ...]]] = field(default_factory=list)
    stream: bytearray = field(default_factory=bytearray)


def attempt_on(git: Git, series: Series, base: NewBase, old: str, say: Say) -> Attempt:
    """The series on the old base, and what is known of the new one before the first patch is tried."""
    made = materialise(git, old, list(series.patches.values()))
    known = replay.changes_of_all(git, [each.commit for each in made])
    changes = [(each.name, known[each.commit]) for each in made]
    pristine = Tree.read(git, base.commit)
    paths = [change.old for _, each in changes for change in each]
    before = Tree.read(git, old).entries
    arrived = {entry: path for path, entry in pristine.entries.items() if before.get(path) != entry}
    moved = replay.moves(git, old, base.commit, (path for path in paths if path in before), pristine.entries)
    taken = replay.taken_upstream(pristine, changes, moved, merge_file(git))
    same = {}
    if base.since:
        say(f"{series.upstream}: looking through the commits between the pins")
        same = history.same_patches(git, base.since, [each.commit for each in made], [*paths, *moved.values()])
    tree = Tree(git, dict(pristine.entries), pristine.contents)
    return Attempt(git, series, base, made, moved, pristine, taken, tree, base.commit, [], same, arrived, known)


def step(attempt: Attempt, at: int, say: Say, *, later: bool = False) -> PatchOutcome:
    """Try one patch and take it where it fits; its outcome is the last of the rows. later: what fits exactly may get its commit by ``settle``."""
    name = attempt.series.names[at]
    patch, old = attempt.series.patches[name], attempt.made[at].commit
    changes = attempt.changes[old]
    found = judge(attempt, patch, changes)
    why = [found.why, *remarks(attempt, name, old, found)]
    since, entries = attempt.base.since, attempt.pristine.entries
    commits = history.touching(attempt.git, since, changes, entries, attempt.moved) if since else []
    if known := attempt.same.get(old):
        commits = [known, *(each for each in commits if each.commit != known.commit)]
    row = PatchOutcome(name, found.outcome, "; ".join(why), tuple(commits))
    if found.outcome in (CLEAN, PARTLY):
        same = found.why == EXACT and message(attempt, patch) == patch.message
        take(attempt, patch, found)
        if not (later and same):
            settle(attempt)
        row = replace(row, commit=attempt.tip, range_diff="" if same else range_diff(attempt.git, old, attempt.tip))
    attempt.rows.append(row)
    say(f"{attempt.series.upstream}: {name}: {row.outcome} ({row.why})")
    return row


def judge(attempt: Attempt, patch: PatchFile, changes: Sequence[replay.Change]) -> Replay:
    """Merge a patch into the tree so far, and look at the new base by itself where that leaves a question."""
    merge = merge_file(attempt.git)
    found = replay.replay(attempt.tree, patch, changes, attempt.moved, merge, attempt.arrived)
    if found.outcome == CONFLICT and patch.name in attempt.taken:
        return replace(found, outcome=UPSTREAM, why="the new base has it, under a later patch that it has too")
    if found.outcome == UPSTREAM and patch.name not in attempt.taken:
        alone = replay.replay(attempt.pristine, patch, changes, attempt.moved, merge, attempt.arrived)
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


def take(attempt: Attempt, patch: PatchFile, found: Replay) -> None:
    """Put a replayed patch on the tip; ``settle`` makes its commit."""
    before = {path: attempt.tree.entries.get(path, ABSENT) for path in found.puts}
    replay.apply_to(attempt.tree, found.puts)
    touches = tuple(Touch(before[path][0], entry[0], before[path][1], entry[1], path)
                    for path, entry in sorted(found.puts.items()) if before[path] != entry)  # fmt: skip
    patch = replace(patch, message=message(attempt, patch))
    parent = f":{len(attempt.waiting)}" if attempt.waiting else attempt.tip
    attempt.waiting.append((patch, touches))
    attempt.stream += commit_command(attempt.tree, patch, touches, len(attempt.waiting), parent)


def settle(attempt: Attempt) -> None:
    """Make the commits of the patches that wait for theirs, by one git, and put them into the rows."""
    made = {each.name: each.commit for each in write(attempt.git, bytes(attempt.stream), attempt.waiting)}
    attempt.tip = list(made.values())[-1] if made else attempt.tip
    attempt.rows = [replace(row, commit=made.get(row.name, row.commit)) for row in attempt.rows]
    attempt.waiting, attempt.stream = [], bytearray()


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
    if old == new:
        return ""
    done = git.run("range-diff", "--no-color", "--creation-factor=999", f"{old}^..{old}", f"{new}^..{new}")
    if done.code:  # git 2.39 cannot read its own diff of an empty file whose name holds blanks
        return f"git range-diff cannot show {old[:12]} and {new[:12]}: {first_line(done.err.strip())}"
    text = done.out.decode("utf-8", "surrogateescape").strip()
    if (same := re.match(r"1:\s+\S+ = 1:.*", text)) is None:
        return text
    before, after = unshown(git, old), unshown(git, new)
    lines = [f"    {path}: {before.get(path, 'as it was')} -> {after.get(path, 'as it was')}"
             for path in sorted({*before, *after}) if before.get(path) != after.get(path)]  # fmt: skip
    return "\n".join([same[0].replace(" = 1:", " ! 1:", 1), *lines]) if lines else ""


def unshown(git: Git, commit: str) -> dict[str, str]:
    """path -> what git range-diff takes for equal: the mode of an added file, and all of a binary file."""
    text = git("diff-tree", "-p", "--binary", "--full-index", "-M", "--no-commit-id", "--no-color", "--no-ext-diff", "--no-textconv", commit)
    said = {}
    for change in diff.parse(commit, text):
        facts = [f"mode {change.new_mode}"] if change.kind == "add" else []
        facts += [f"binary {str(change.new_blob)[:12]}"] if change.binary else []
        if facts:
            said[change.new_path.decode("utf-8", "surrogateescape")] = ", ".join(facts)
    return said
