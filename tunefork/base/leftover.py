"""Programs that nobody looks after any more: their guardian and the command that started them were both killed. The next start of any program ends them.

A note for each program lies in the user's cache under the program's mark (guarded.py). Command and guardian hold it by one lock (flock), which the
kernel releases when both are gone, whatever ended them; a note that can be locked is of an end that nobody saw. Its processes are found by the mark
in their environment, whatever session they went to. No process number is believed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path

import psutil

from tunefork.base.boot import boot_id
from tunefork.base.layout import user_cache
from tunefork.base.visible import visible

MARK = "TUNEFORK_GUARDED"
"""A variable of a guarded program's environment, with a drawn value: whatever it starts has it too, and is known by it without the guardian."""
TERM_S, KILL_S = 5.0, 10.0


def folder() -> Path:
    return user_cache() / "guarded"


def here() -> str:
    """The boot of this machine, and the process namespace: only there a mark can be looked for."""
    try:
        return f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}\n"
    except OSError:  # not Linux: nothing else shares the cache with other processes
        return "\n"


def note(mark: str) -> int | None:
    """Begin a note, and hold it: a descriptor that the guardian is to hold too. None where the cache cannot be written."""
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        unseen = folder() / f".{mark}"
        held = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            os.write(held, here().encode())
            unseen.rename(folder() / mark)  # seen only when it is held
        except OSError:  # a file system without locks, or a full one
            os.close(held)
            unseen.unlink()
            raise
        return held
    return None


def let_go(held: int | None) -> None:
    """This process no longer looks after the program; its guardian still may."""
    if held is not None:
        os.close(held)


def forget(mark: str, held: int | None) -> None:
    """The program has come to its end."""
    let_go(held)
    if held is not None:
        with contextlib.suppress(OSError):
            (folder() / mark).unlink()


def sweep() -> None:
    """End what is left of programs that nobody holds, and say so on stderr."""
    try:
        found = [path for path in folder().iterdir() if not path.name.startswith(".")]
    except OSError:
        return
    for path in found:
        with contextlib.suppress(OSError):
            ended(path)


def ended(path: Path) -> None:
    """One note: nothing where it is held, or of a namespace that cannot be looked into from here. OSError where it is gone or may not be touched."""
    held = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        said = os.read(held, 4096).decode("utf-8", "replace")
        if said == here() and os.environ.get(MARK) != path.name:  # not what this process itself is a part of
            end(marked(path.name))
        elif said.partition(" ")[0] == here().partition(" ")[0]:  # this boot
            return
        path.unlink()
    finally:
        os.close(held)


def marked(mark: str) -> list[psutil.Process]:
    """The processes that have a mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(left: list[psutil.Process]) -> None:
    """SIGTERM, and SIGKILL to what still runs TERM_S later."""
    if not left:
        return
    names = []
    for one in left:
        with contextlib.suppress(psutil.Error):
            names.append(f"{visible(one.name())} ({one.pid})")
            one.terminate()
    sys.stderr.write(f"ending what a killed command and its killed guardian left: {', '.join(names)}\n")
    _, alive = psutil.wait_procs(left, timeout=TERM_S)
    for one in alive:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(alive, timeout=KILL_S)
