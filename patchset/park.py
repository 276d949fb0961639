"""A patch that does not match is parked: a worktree at the last good commit, the patch's change in it with conflict markers.

``apply --continue`` makes the resolved tree the patch's new content and goes on; ``apply --abort`` removes the worktree. Nothing else is
touched in between.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tunefork.patchset import apply as applying
from tunefork.patchset import canonical, diff
from tunefork.patchset import checkout as checkouts
from tunefork.patchset import export as exporting
from tunefork.patchset.apply import Applied
from tunefork.patchset.diff import FileChange, HunkMismatch
from tunefork.patchset.errors import BadInput, PatchConflict
from tunefork.patchset.export import Exported
from tunefork.patchset.git import EMAIL, NAME, Git
from tunefork.patchset.layout import Layout
from tunefork.patchset.mail import PatchFile
from tunefork.patchset.materialise import Mismatch
from tunefork.patchset.process import Say, quiet
from tunefork.patchset.series import SUFFIX, Series
from tunefork.patchset.state import write_atomically

SLUG = "parked"
MARKER = b"<<<<<<< "


@dataclass(frozen=True)
class Parked:
    """A parked patch: its name, the commit it was to go onto, and the worktree where it waits."""

    upstream: str
    patch: str
    onto: str
    path: Path


def notes(layout: Layout, upstream: str) -> Path:
    return checkouts.primary(layout, upstream).notes / applying.PARKED


def find(layout: Layout, upstream: str) -> Parked | None:
    """The parked patch of an upstream, if there is one."""
    try:
        data = json.loads(notes(layout, upstream).read_bytes())
    except (OSError, ValueError):
        return None
    return Parked(upstream, data["patch"], data["onto"], layout.checkout(upstream, SLUG))


def lock_or_park(layout: Layout, upstream: str, *, say: Say = quiet) -> Exported:
    """lock_series, with a patch that does not match parked; the PatchConflict then says where and how to go on."""
    applying.refuse_parked(layout, upstream)
    try:
        return exporting.lock_series(layout, upstream, say=say)
    except Mismatch as mismatch:
        with checkouts.locked(layout, upstream, say):
            base = applying.state_of_primary(layout, upstream).base
            onto = mismatch.made[-1].commit if mismatch.made else base
            parked = park(layout, upstream, mismatch.patch, onto)
        raise PatchConflict(
            f"{mismatch.message}; it waits in {parked.path}",
            f"resolve the markers there, then `python build.py apply {upstream} --continue`; `--abort` drops the attempt",
        ) from None


def park(layout: Layout, upstream: str, patch: PatchFile, onto: str) -> Parked:
    """Make the parked worktree and put the patch's change into it."""
    first = checkouts.primary(layout, upstream)
    path = layout.checkout(upstream, SLUG)
    remove_worktree(first.git, path)
    first.git("worktree", "add", "--quiet", "--force", "--detach", str(path), onto)
    write_atomically(notes(layout, upstream), json.dumps({"patch": patch.name, "onto": onto}).encode())
    for change in diff.parse(patch.name, patch.diff):
        put(first.git, path, change, patch.name)
    return Parked(upstream, patch.name, onto, path)


def put(git: Git, tree: Path, change: FileChange, name: str) -> None:
    """One file's change in the parked worktree: exact, merged, or with conflict markers."""
    root = os.fsencode(tree)
    old_file = Path(os.fsdecode(root + b"/" + change.old_path))
    new_file = Path(os.fsdecode(root + b"/" + change.new_path))
    ours = old_file.read_bytes() if old_file.is_file() and change.kind != "add" else b""
    if change.kind == "delete":
        old_file.unlink(missing_ok=True)
        return
    taken = change.kind == "add" and new_file.is_file()
    content = marked(new_file.read_bytes(), change.apply(b""), name) if taken else changed_text(git, change, ours, name)
    if change.kind == "rename":
        old_file.unlink(missing_ok=True)
    new_file.parent.mkdir(parents=True, exist_ok=True)
    new_file.write_bytes(content)
    new_file.chmod(0o755 if change.new_mode == "100755" else 0o644)


def changed_text(git: Git, change: FileChange, ours: bytes, name: str) -> bytes:
    """The patched content where it fits; else a three-way merge from the patch's own preimage; else hunk by hunk."""
    try:
        return change.apply(ours)
    except HunkMismatch:
        base = git.run("cat-file", "blob", change.old_blob or "-")
        if base.code == 0 and diff.blob_id(base.out) == change.old_blob:
            return merge_with_markers(git, base.out, ours, change.apply(base.out), name)
        return hunks_with_markers(change, ours, name)


def merge_with_markers(git: Git, base: bytes, ours: bytes, theirs: bytes, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tunefork-park-") as folder:
        paths = [Path(folder) / side for side in ("ours", "base", "theirs")]
        for path, data in zip(paths, (ours, base, theirs), strict=True):
            path.write_bytes(data)
        labels = ["-L", "tree", "-L", "what the patch was made from", "-L", f"{name}.patch"]
        return git.run("merge-file", "-p", "--diff3", *labels, *map(str, paths)).out


def hunks_with_markers(change: FileChange, ours: bytes, name: str) -> bytes:
    """Without the preimage: each hunk is marked at its line, the tree's lines there against the patch's."""
    lines = diff.split_lines(ours)
    out: list[bytes] = []
    at = 0
    for hunk in change.hunks:
        begin = min(max(hunk.start - 1, at), len(lines))
        end = min(begin + len(hunk.old), len(lines))
        out += lines[at:begin]
        out.append(marked(b"".join(lines[begin:end]), b"".join(hunk.new), name))
        at = end
    return b"".join([*out, *lines[at:]])


def marked(ours: bytes, theirs: bytes, name: str) -> bytes:
    """A conflict block of two sides."""
    ends = [side if not side or side.endswith(b"\n") else side + b"\n" for side in (ours, theirs)]
    return MARKER + b"tree\n" + ends[0] + b"=======\n" + ends[1] + b">>>>>>> " + name.encode() + b".patch\n"


def go_on(layout: Layout, upstream: str, *, say: Say = quiet) -> Applied:
    """Take the resolved worktree as the parked patch's new content, lock the series and apply it."""
    parked = find(layout, upstream)
    if parked is None:
        raise BadInput(f"{upstream}: no patch is parked", f"python build.py apply {upstream}")
    with checkouts.locked(layout, upstream, say):
        series = Series.load(upstream, layout.series_dir(upstream))
        patch = series.patches[series.resolve(parked.patch)]
        data = resolved(parked, patch)
        write_atomically(series.directory / (patch.name + SUFFIX), data)
        say(f"{upstream}: {patch.name}.patch rewritten from the resolved tree")
        remove(layout, upstream)
    lock_or_park(layout, upstream, say=say)
    return applying.apply(layout, upstream, say=say)


def resolved(parked: Parked, patch: PatchFile) -> bytes:
    """The canonical patch file of what the parked worktree now holds."""
    git = Git(parked.path)
    unresolved = git.run("grep", "-l", "--untracked", "-I", "-e", "^<<<<<<< ", "-e", "^>>>>>>> ").out.decode("utf-8", "replace")
    touched = {os.fsdecode(change.new_path) for change in diff.parse(patch.name, patch.diff)}
    if left := sorted(touched & set(unresolved.splitlines())):
        raise PatchConflict(f"{parked.path.name}: conflict markers are left in {', '.join(left)}",
                            f"resolve them in {parked.path}, then --continue again; or --abort")
    git("add", "--all", ".")
    tree = git.text("write-tree")
    if tree == git.text("rev-parse", f"{parked.onto}^{{tree}}"):
        raise PatchConflict(f"{patch.name}: the resolved tree equals the one before the patch: nothing is left of it",
                            f"--abort, then delete its line in the series file and run `python build.py patch lock {parked.upstream}`")
    author, _, mail = patch.author.decode("utf-8", "surrogateescape").rpartition(" <")
    date = patch.date.decode()
    people = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": mail.rstrip(">"), "GIT_AUTHOR_DATE": date,
              "GIT_COMMITTER_NAME": NAME, "GIT_COMMITTER_EMAIL": EMAIL, "GIT_COMMITTER_DATE": date}  # fmt: skip
    commit = git("commit-tree", tree, "-p", parked.onto, "-F", "-", stdin=patch.message, env=people).decode().strip()
    return canonical.files(git, parked.onto, commit)[0][1]


def abort(layout: Layout, upstream: str, *, say: Say = quiet) -> None:
    """Remove the parked worktree and forget it. The patch files are as the user left them."""
    parked = find(layout, upstream)
    if parked is None:
        raise BadInput(f"{upstream}: no patch is parked, nothing to abort", f"python build.py status {upstream}")
    with checkouts.locked(layout, upstream, say):
        remove(layout, upstream)
    say(f"{upstream}: {parked.patch} is no longer parked; the patch files are as you left them")


def remove(layout: Layout, upstream: str) -> None:
    remove_worktree(checkouts.primary(layout, upstream).git, layout.checkout(upstream, SLUG))
    notes(layout, upstream).unlink(missing_ok=True)


def remove_worktree(git: Git, path: Path) -> None:
    git.run("worktree", "remove", "--force", "--force", str(path))
    shutil.rmtree(path, ignore_errors=True)
    git("worktree", "prune")
