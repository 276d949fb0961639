"""A look at all files of a checkout that costs git little the next time: through a copy of its index that is ours.

Git compares every file with the index, and what it learns by that (that a file which is as old as the index is the same, what is in which folder) it
may write into an index alone. A user's index is not ours to write at a question, so the copy is written: `<key>.<of>.index` among our notes, where
`of` is of the very index that was copied. Another index of the user's is another copy, so no copy is ever of anything but what its name says.

Folders that have not changed are not read again only on file systems that are known to keep their times (base/mounts.py). This is for `status` alone: what
refuses or overwrites looks by itself (work.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tunefork.base.boot import boot_id
from tunefork.base.mounts import KEEP_TIMES, kind_of
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.git import Git

STALE_S = 60.0
"""No look takes as long: a lock of a copy that is older is a killed git's."""


def keeps_times(path: Path) -> bool:
    """Whether a folder's time can be believed there."""
    return kind_of(path) in KEEP_TIMES


def name_of(found: os.stat_result) -> str:
    """Of one index: git never writes one in its place, so another one is another file. And of this boot: neither we nor git wait until a copy is on
    the disk, and of half an index git says odd things."""
    return hashlib.sha256(f"{boot_id()} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}".encode()).hexdigest()[:16]


def copy_of(checkout: Checkout) -> Path | None:
    """Our copy of the index as it is now, made where there is none; None where none can be made."""
    index = checkout.git_dir / "index"
    try:
        found = index.stat()
        path = checkout.notes / f"{checkout.key}.{name_of(found)}.index"
        if not path.is_file():
            forget(checkout)
            made = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            made.write_bytes(index.read_bytes())
            # Its time too: by it git knows which files are so young that their times say nothing.
            os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))
            same = name_of(index.stat()) == name_of(found)
            made.rename(path) if same else made.unlink()
        with contextlib.suppress(FileNotFoundError):
            lock = path.with_name(f"{path.name}.lock")
            if lock.stat().st_mtime < time.time() - STALE_S:
                lock.unlink()
        return path if path.is_file() else None
    except OSError:
        return None


OURS = re.compile(r"(?P<key>.+)\.[0-9a-f]{16}\.index(\.\d+\.tmp|\.lock)?")


def forget(checkout: Checkout) -> None:
    """Remove the copies of earlier indexes of a checkout, and what a kill left of them."""
    remove(checkout.notes, lambda key: key == checkout.key)


def forget_others(found: Sequence[Checkout]) -> None:
    """Remove the copies of checkouts that are no more."""
    known = {checkout.key for checkout in found}
    if found:
        with contextlib.suppress(OSError):
            remove(found[0].notes, lambda key: key not in known)


def remove(notes: Path, gone: Callable[[str], bool]) -> None:
    """Remove the copies of the checkouts whose keys ``gone`` holds for."""
    for path in notes.iterdir():
        if (found := OURS.fullmatch(path.name)) and gone(found["key"]):
            path.unlink(missing_ok=True)


def asked(checkout: Checkout, words: Sequence[str], *, alone: bool, times: bool) -> bytes | None:
    """What a git command says that looks at all files, through the copy; None where there is none.

    alone: no other look goes on at the same time, and git may use threads.  times: whether folders' times can be believed (keeps_times).
    """
    copy = copy_of(checkout)
    if copy is None:
        return None
    options = ("-c", f"core.untrackedCache={'true' if times else 'false'}", "-c", f"core.preloadIndex={'true' if alone else 'false'}")
    done = Git(checkout.path, index=copy).run(*options, *words, env={"GIT_OPTIONAL_LOCKS": "1"})
    return None if done.code else done.out
