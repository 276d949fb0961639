"""Time apply beside ``git am -3`` on the real vLLM tree: ``python -m studies.series.speed [PATCHES] [--json]``.

Generates a series of one-file patches, then times, in turn and several times over:

    git am -3     the same files, on a checkout at the pin
    whole         apply from the unpatched pin to the whole series, nothing of it made before
    last edited   apply after a change to the last patch
    nothing       apply when there is nothing to do

Printed are medians, their spread, and the ratios to git am's median of this run; the machine's load moves all of them together.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import lock_series
from tunefork.patchset.git import Git
from tunefork.patchset.series import lock as locks
from tunefork.patchset.series.series import Series

UPSTREAM = "vllm"
PATCHES = 51
ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """One case. seconds: every round's wall time.  ratio: of its median to git am's median."""

    case: str
    seconds: tuple[float, ...]
    ratio: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def generate(home: Layout, count: int) -> None:
    """Write ``count`` one-file patches as the series of a root whose checkout is at the pin."""
    git = Git(home.checkout(UPSTREAM))
    names = git("ls-tree", "-r", "-z", "--name-only", "HEAD", "vllm/").decode().split("\0")
    plain = [name for name in names if name.endswith(".py") and not os.access(home.checkout(UPSTREAM) / name, os.X_OK)]
    picked = [name for name in plain if (home.checkout(UPSTREAM) / name).stat().st_size > 3000][:count]
    folder = home.series_dir(UPSTREAM)
    for number, name in enumerate(picked):
        (folder / f"p{number:03}.patch").write_bytes(insertion(git, name, number))
    (folder / "series").write_text("".join(f"p{number:03}.patch\n" for number in range(len(picked))))


def insertion(git: Git, name: str, number: int) -> bytes:
    """A patch file that inserts one line into the middle of a file."""
    lines = git("cat-file", "blob", f"HEAD:{name}").split(b"\n")
    at = len(lines) // 2
    changed = b"\n".join([*lines[:at], b"# measured change %d" % number, *lines[at:]])
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old", Path(folder) / "new"
        old.write_bytes(b"\n".join(lines))
        new.write_bytes(changed)
        text = git.run("diff", "--no-index", "--full-index", str(old), str(new)).out
    body = text[text.index(b"\nindex ") :].split(b"\n+++ ", 1)
    index = body[0].split(b"\n")[1]
    hunks = body[1].split(b"\n", 1)[1]
    path = name.encode()
    who = f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: T <t@localhost>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\n"
    message = f"{who}Subject: [Speed] Change {number}\n\nWhy.\n\n".encode()
    return message + b"diff --git a/%s b/%s\n%s\n--- a/%s\n+++ b/%s\n%s" % (path, path, index, path, path, hunks)


def clock(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def git_am(home: Layout) -> float:
    """Seconds that ``git am -3`` takes for the series on a checkout at the pin; the checkout is put back afterwards."""
    git = Git(home.checkout(UPSTREAM))
    files = [str(home.series_dir(UPSTREAM) / f"{name}.patch") for name in Series.load(UPSTREAM, home.series_dir(UPSTREAM)).names]
    base = git.text("rev-parse", "HEAD")
    seconds = clock(lambda: git("am", "--quiet", "-3", "--keep-non-patch", *files))
    git("reset", "--quiet", "--hard", base)
    return seconds


def edit_last(home: Layout, text: str) -> None:
    """Change what the last patch inserts, and lock the series again (as an author does who edits a patch by hand)."""
    path = home.series_dir(UPSTREAM) / (Series.load(UPSTREAM, home.series_dir(UPSTREAM)).names[-1] + ".patch")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(b"+# " + text.encode() if line.startswith(b"+#") else line for line in lines))
    lock_series(home, UPSTREAM)


def measure(cache: Path, root: Path, scratch: Path, count: int = PATCHES, rounds: int = ROUNDS) -> list[Timing]:
    """Run every case ``rounds`` times, interleaved. cache: with the upstream's source in it.  root: the project (its pins.toml)."""
    author = Layout(scratch / "author", cache)
    start(author, root)
    generate(author, count)
    lock_series(author, UPSTREAM)
    seconds: dict[str, list[float]] = {"git am -3": [], "whole": [], "last edited": [], "nothing": []}
    for number in range(rounds):
        seconds["git am -3"].append(git_am(author))
        fresh = Layout(scratch / f"user{number}", cache)
        start(fresh, root)
        publish(author, fresh)
        seconds["whole"].append(clock(lambda home=fresh: apply(home, UPSTREAM)))  # type: ignore[misc]
        edit_last(author, f"edit {number}")
        publish(author, fresh)
        seconds["last edited"].append(clock(lambda home=fresh: apply(home, UPSTREAM)))  # type: ignore[misc]
        seconds["nothing"].append(clock(lambda home=fresh: no_op(home, root)))  # type: ignore[misc]
        shutil.rmtree(fresh.root)
    base = statistics.median(seconds["git am -3"])
    return [Timing(case, tuple(values), statistics.median(values) / base) for case, values in seconds.items()]


def start(home: Layout, root: Path) -> None:
    """A root of its own with the project's pins, an empty series, and a checkout at the pin."""
    home.series_dir(UPSTREAM).mkdir(parents=True)
    shutil.copy(root / "pins.toml", home.pins)
    apply(home, UPSTREAM, "base")


def publish(author: Layout, user: Layout) -> None:
    """Bring the author's series to a user, as `git pull` of the project does."""
    shutil.rmtree(user.series_dir(UPSTREAM))
    shutil.copytree(author.series_dir(UPSTREAM), user.series_dir(UPSTREAM))
    assert locks.Lock.load(user.series_dir(UPSTREAM)) is not None


def no_op(home: Layout, root: Path) -> None:
    """The whole command, Python's start included."""
    environment = {**os.environ, "TUNEFORK_ROOT": str(home.root), "TUNEFORK_CACHE": str(home.cache)}
    command = [sys.executable, str(root / "build.py"), "--no-venv", "apply", UPSTREAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "nothing to do" in done.stdout, done.stdout


def main(argv: list[str]) -> int:
    """Print the table, or JSON."""
    here = Layout.here()
    count = next((int(word) for word in argv if word.isdigit()), PATCHES)
    with tempfile.TemporaryDirectory(prefix="tunefork-speed-", dir=here.work) as scratch:
        timings = measure(here.cache, here.root, Path(scratch), count)
    if "--json" in argv:
        print(json.dumps([{"case": t.case, "seconds": t.seconds, "ratio": t.ratio} for t in timings]))
        return 0
    print(f"{count} one-file patches on the vLLM tree, {ROUNDS} rounds; `nothing` includes Python's start")
    for t in timings:
        print(f"  {t.case:12} {t.median:7.3f} s  ({min(t.seconds):.3f} to {max(t.seconds):.3f})   {t.ratio:6.2f} x git am -3")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
