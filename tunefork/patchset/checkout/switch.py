"""Move a checkout from one commit to another: a transaction that a kill at any moment leaves recoverable.

Order: journal, work tree (only changed files), index, branch. The ref that HEAD resolves to decides: recovery brings the paths between
the two commits to whichever one HEAD names. The paths were clean before the journal was written, so nothing of the user's is in them;
what was written there since is set aside, not overwritten.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tunefork.base.errors import WorkAtRisk
from tunefork.base.files import copy_whole, write_atomically
from tunefork.base.process import Say
from tunefork.base.transaction import Damaged
from tunefork.base.typed import typed
from tunefork.patchset.checkout import running, work
from tunefork.patchset.checkout.checkout import MARK, Checkout, applied_ref, cannot_write
from tunefork.patchset.git import Git
from tunefork.patchset.series.diff import blob_id

GITLINK = "160000"
FEW = 200  # paths that are asked for by name; more are found faster by looking at all
Entry = tuple[str, str]  # (mode, blob)
ABSENT: Entry = ("000000", "0" * 40)


def difference(git: Git, old: str, new: str) -> dict[bytes, tuple[Entry, Entry]]:
    """What changes from one commit to another: path -> (entry before, entry after)."""
    out = git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", old, new).split(b"\0")
    found = {}
    for meta, path in zip(out[0::2], out[1::2], strict=False):
        old_mode, new_mode, old_blob, new_blob, _ = meta[1:].decode().split(" ")
        found[path] = ((old_mode, old_blob), (new_mode, new_blob))
    return found


def move(checkout: Checkout, commit: str, branch: str, say: Say) -> int:
    """Bring a checkout to ``commit`` on ``branch``; returns how many files changed.

    Raises WorkAtRisk before anything is touched when a changed path holds work. Any other error or Ctrl-C rolls back.
    """
    _, old = checkout.head()
    paths = difference(checkout.git, old, commit)
    if paths:
        running.warn(checkout.path, say)
    index, hold = index_files(checkout)
    fresh = checkout.notes / f"{checkout.key}.index"
    staging = Git(checkout.path, index=fresh)
    hold_index(hold, fresh)
    try:
        shutil.copy2(index, fresh)  # with its time: by that, git knows which files changed within the second that they were written in
        check_paths(checkout, staging, paths)
        checkout.moving.step({"old": old, "new": commit})
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        hold.unlink()
        if isinstance(error, OSError):
            raise cannot_write(checkout.notes, error) from error
        raise
    try:
        staging("read-tree", "-m", "-u", old, commit)
        os.replace(fresh, index)
        point(checkout, branch, commit)
    except BaseException:
        recover(checkout, say)
        raise
    hold.unlink()
    checkout.moving.end()
    return len(paths)


def point(checkout: Checkout, branch: str, commit: str) -> None:
    """The ref edit that makes a move final: the branch and the applied ref together, then HEAD where it changes branch."""
    refs = f"update refs/heads/{branch} {commit}\nupdate {applied_ref(branch)} {commit}\n"
    checkout.git("update-ref", "--create-reflog", "-m", "tunefork apply", "--stdin", stdin=refs.encode())
    if checkout.head()[0] != branch:
        checkout.git("symbolic-ref", "-m", "tunefork apply", "HEAD", f"refs/heads/{branch}")


def check_paths(checkout: Checkout, staging: Git, paths: dict[bytes, tuple[Entry, Entry]]) -> None:
    """Refuse when a path that is to change holds uncommitted work, or an untracked file stands where a new one goes.

    staging: git on a copy of the index.
    """
    refuse_hidden(checkout, "then commit and export it; or add --discard, which keeps a backup ref", hidden(staging, paths))
    modified = modified_of(staging, paths)
    ways_out = (
        f"commit and export it (`git commit`, then `python3 build.py patch export {checkout.upstream}`), stash it (`git stash` in "
        f"{checkout.path}), or add --discard, which keeps a backup ref"
    )
    if at_risk := [path.decode("utf-8", "surrogateescape") for path in modified if path in paths]:
        raise work.refuse(checkout, "uncommitted changes", at_risk, ways_out)
    if colliding := collisions(checkout, paths):
        raise work.refuse(checkout, "untracked files", colliding,
                          f"move them away, or add --discard, which keeps a backup ref ({checkout.path})")


def hidden(git: Git, paths: Iterable[bytes] | None = None) -> list[bytes]:
    """Files that differ from the index although it says assume-unchanged or skip-worktree of them: git itself would not tell.

    paths: only of these. A file that is not there (a sparse checkout's) does not differ.
    """
    flagged = [line[2:] for line in git("ls-files", "-v", "-z").split(b"\0") if line[:1].islower() or line[:1] == b"S"]
    if paths is not None:
        flagged = sorted({*flagged} & {*paths})
    if not flagged:
        return []
    listed = git("--literal-pathspecs", "ls-files", "--stage", "-z", "--", *map(os.fsdecode, flagged)).split(b"\0")[:-1]
    entries = {line.partition(b"\t")[2]: line.split(b" ", 2)[:2] for line in listed}
    return [path for path in flagged if differs(git, path, *(each.decode() for each in entries[path]))]


def refuse_hidden(checkout: Checkout, then: str, unseen: Sequence[bytes] | None = None) -> None:
    """WorkAtRisk for files that were changed and that git was told not to look at. unseen: which, where that is known.  then: what to do once git looks."""
    if found := hidden(checkout.git) if unseen is None else unseen:
        named = [path.decode("utf-8", "surrogateescape") for path in found]
        raise work.refuse(checkout, "changes that git was told not to look at (assume-unchanged or skip-worktree)", named,
                          f"git -C {typed(checkout.path)} update-index --no-assume-unchanged --no-skip-worktree {typed(named[0])}, {then}")


def look_again(git: Git, paths: Sequence[bytes]) -> None:
    """Take both flags off these files."""
    if paths:
        for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
            git("update-index", "-z", flag, "--stdin", stdin=b"".join(each + b"\0" for each in paths))


def differs(git: Git, path: bytes, mode: str, blob: str) -> bool:
    """Whether a file of the work tree is another than the index says."""
    file = git.directory / os.fsdecode(path)
    if mode == GITLINK or not os.path.lexists(file):
        return False
    if file.is_symlink() or mode == "120000":
        return mode != "120000" or not file.is_symlink() or blob_id(os.fsencode(file.readlink())) != blob
    return not file.is_file() or git.text("hash-object", "--", os.fsdecode(path)) != blob or bool(file.stat().st_mode & 0o100) != (mode == "100755")


def modified_of(staging: Git, paths: dict[bytes, tuple[Entry, Entry]]) -> list[bytes]:
    """What differs from HEAD among some paths. The index is refreshed, at the price of looking at every file, only if something seems to."""
    few = [os.fsdecode(path) for path in paths] if len(paths) <= FEW else []
    look = ("--literal-pathspecs", "diff-index", "--name-only", "-z", "HEAD", "--", *few)
    if not paths or not staging(*look):
        return []
    staging.run("update-index", "-q", "--refresh")
    return staging(*look).split(b"\0")[:-1]


def collisions(checkout: Checkout, paths: dict[bytes, tuple[Entry, Entry]]) -> list[str]:
    """Paths that are to be created where something untracked (ignored or not) already is."""
    root = os.fsencode(checkout.path)
    added = [path for path, (old, _) in paths.items() if old == ABSENT]
    removed = {path for path, (_, new) in paths.items() if new == ABSENT}
    found = []
    for path in added:
        parents = [path[:at] for at in range(len(path)) if path[at : at + 1] == b"/"]
        blocked = next((each for each in parents if each not in removed and is_file(os.path.join(root, each))), None)  # noqa: PTH118
        if blocked or stays(root, path, removed):
            found.append((blocked or path).decode("utf-8", "surrogateescape"))
    return found


def is_file(path: bytes) -> bool:
    return os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path))  # noqa: PTH112, PTH114 - bytes path


def stays(root: bytes, path: bytes, removed: set[bytes]) -> bool:
    """Whether something is at a path that the move itself does not remove: a folder goes when all of its files go."""
    whole = os.path.join(root, path)  # noqa: PTH118 - bytes paths: names may not be UTF-8
    if not os.path.lexists(whole) or is_file(whole):
        return os.path.lexists(whole)
    return any(os.path.relpath(os.path.join(folder, name), root) not in removed  # noqa: PTH118
               for folder, folders, names in os.walk(whole)
               for name in [*names, *(each for each in folders if os.path.islink(os.path.join(folder, each)))])  # noqa: PTH114, PTH118


def index_files(checkout: Checkout) -> tuple[Path, Path]:
    """(the checkout's index, the lock file that git holds it with)."""
    index = checkout.git_dir / "index"
    return index, index.with_name("index.lock")


@contextmanager
def on_index_copy(checkout: Checkout) -> Iterator[Git]:
    """git in a checkout on a copy of its index, so that looking leaves the index as it is."""
    copy = checkout.notes / f"{checkout.key}.look-index"
    shutil.copy2(index_files(checkout)[0], copy)  # with its time, as in move
    try:
        yield Git(checkout.path, index=copy)
    finally:
        copy.unlink(missing_ok=True)


def hold_index(hold: Path, mine: Path) -> None:
    """Take the index as git does, so that a git command of the user's cannot run into the move.

    mine: a scratch file. The lock holds our mark, by which one of ours that a kill left is known.
    """
    try:
        release(hold)
        write_atomically(mine, MARK)
        os.link(mine, hold)
    except FileExistsError:
        raise held(hold) from None
    except OSError as error:
        raise cannot_write(hold.parent, error) from error
    finally:
        mine.unlink(missing_ok=True)


def release(hold: Path) -> None:
    """Remove the index's lock where it is one of ours, left by a kill; WorkAtRisk where it is another's."""
    try:
        if hold.read_bytes() != MARK:
            raise held(hold)
        hold.unlink()
    except FileNotFoundError:
        return


def held(hold: Path) -> WorkAtRisk:
    return WorkAtRisk(f"a git command holds {hold}", f"wait until it ends; if none runs, it was killed: rm {typed(hold)}")


def require_free_index(checkout: Checkout) -> None:
    """WorkAtRisk where a git command of somebody else's holds the index; for callers that write other files before they move."""
    release(index_files(checkout)[1])


def recover(checkout: Checkout, say: Say) -> bool:
    """Finish or undo a move that was interrupted. Returns whether there was one."""
    try:
        sides = checkout.moving.read(lambda found: (found["old"], found["new"]), "")
    except Damaged:
        sides = None
    if sides is None:
        checkout.moving.end()
        return False
    old, new = sides
    git = checkout.git
    _, target = checkout.head()
    say(f"{checkout.path.name}: recovering from an interrupted apply, to {target[:12]}")
    require_free_index(checkout)
    (checkout.notes / f"{checkout.key}.index").unlink(missing_ok=True)
    (checkout.notes / f"{checkout.key}.index.lock").unlink(missing_ok=True)
    other = new if target == old else old
    entries = difference(git, other, target)
    rescue(checkout, entries, say)
    info = b"".join(
        (b"0 " + ABSENT[1].encode() if new == ABSENT else new[0].encode() + b" " + new[1].encode()) + b"\t" + path + b"\0"
        for path, (_, new) in sorted(entries.items(), key=lambda item: item[1][1] != ABSENT)
    )
    git("update-index", "-z", "--index-info", stdin=info)
    for path, (_, new) in entries.items():
        if new == ABSENT:
            remove(checkout.path, path)
    wanted = b"".join(path + b"\0" for path, (_, new) in entries.items() if new != ABSENT and new[0] != GITLINK)
    git("checkout-index", "--force", "-u", "-z", "--stdin", stdin=wanted)
    checkout.moving.end()
    return True


def rescue(checkout: Checkout, entries: dict[bytes, tuple[Entry, Entry]], say: Say) -> None:
    """Copy away what lies in a path and is neither side's content, nor the beginning of it that a killed write leaves; and all that is in the way."""
    kept = checkout.notes / "rescued" / time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    root = os.fsencode(checkout.path)
    strangers = [*(path for path in entries if not within(checkout, path, entries[path])), *in_the_way(root, entries)]
    for path in strangers:
        file, target = Path(os.fsdecode(os.path.join(root, path))), kept / os.fsdecode(path)  # noqa: PTH118
        if file.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(file.readlink())
        else:
            copy_whole(file, target)
    if strangers:
        say(f"{checkout.path.name}: {len(strangers)} files held something else; copies are in {kept}")


def within(checkout: Checkout, path: bytes, sides: tuple[Entry, Entry]) -> bool:
    """Whether nothing lies in a path but a side's content or its beginning."""
    file = Path(os.fsdecode(os.path.join(os.fsencode(checkout.path), path)))  # noqa: PTH118
    if not reached(checkout.path, path) or not (file.is_symlink() or file.is_file()):
        return True
    data = os.fsencode(file.readlink()) if file.is_symlink() else file.read_bytes()
    blobs = [blob for mode, blob in sides if (mode, blob) != ABSENT and mode != GITLINK]
    return blob_id(data) in blobs or (not file.is_symlink() and any(checkout.git("cat-file", "blob", blob).startswith(data) for blob in blobs))


def in_the_way(root: bytes, entries: dict[bytes, tuple[Entry, Entry]]) -> list[bytes]:
    """Strangers that a forced checkout of the new entries would delete: in a folder where a file goes, and a file or link where a folder goes."""
    found: dict[bytes, None] = {}
    for path in (path for path, (_, new) in entries.items() if new != ABSENT and new[0] != GITLINK):
        whole = os.path.join(root, path)  # noqa: PTH118 - bytes paths
        if reached(Path(os.fsdecode(root)), path) and os.path.isdir(whole) and not os.path.islink(whole):  # noqa: PTH112, PTH114
            found.update(dict.fromkeys(
                os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118
                for folder, folders, names in os.walk(whole)
                for name in [*names, *(each for each in folders if os.path.islink(os.path.join(folder, each)))]))  # noqa: PTH114, PTH118
        parents = (path[:at] for at in range(len(path)) if path[at : at + 1] == b"/")
        if first := next((each for each in parents if is_file(os.path.join(root, each))), None):  # noqa: PTH118
            found[first] = None
    return [path for path in found if path not in entries]


def remove(root: Path, path: bytes) -> None:
    """Delete a file and the folders that it leaves empty. What is behind a link is another's, and so is a folder of its name, a file of its folder's."""
    file = Path(os.fsdecode(os.path.join(os.fsencode(root), path)))  # noqa: PTH118
    if not reached(root, path) or (file.is_dir() and not file.is_symlink()):
        return
    if os.path.lexists(file):
        file.unlink()
    for folder in file.parents:
        if folder == root or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def reached(root: Path, path: bytes) -> bool:
    """Whether a path lies in ``root`` itself: no folder on the way to it is a link."""
    return not any(folder.is_symlink() for folder in list((root / os.fsdecode(path)).parents)[: path.count(b"/")])


def check_no_repository(path: Path) -> None:
    """A repository inside the checkout cannot be kept under a backup ref."""
    if path.is_dir() and not path.is_symlink() and (inner := next(path.rglob(".git"), None)):
        own = inner.parent
        raise WorkAtRisk(f"{own} is a repository of its own, where a patch puts a file", f"move it away: mv {typed(own)} elsewhere")


def discard(checkout: Checkout, commit: str, say: Say) -> str:
    """Give up what a checkout holds beyond HEAD, and what stands in the way of ``commit``; a backup ref keeps it all.

    Returns the ref. A git operation in progress is ended where it stands.
    """
    git = checkout.git
    in_the_way = collisions(checkout, difference(git, checkout.head()[1], commit))
    for path in in_the_way:
        check_no_repository(checkout.path / path)
    ref = work.backup(checkout, in_the_way)
    look_again(git, hidden(git))
    for command in ("rebase", "am", "merge", "cherry-pick", "revert"):
        git.run(command, "--quit")
    for path in in_the_way:
        if (checkout.path / path).is_dir() and not (checkout.path / path).is_symlink():
            shutil.rmtree(checkout.path / path)
        else:
            remove(checkout.path, os.fsencode(path))
    git("read-tree", "--reset", "-u", "HEAD")
    say(f"{checkout.path.name}: discarded; to have it back: {ref} (python3 build.py backup {work.name_of(ref)} --restore)")
    return ref
