"""A series line ``pick <sha> [name]``: an upstream commit taken by hash at apply time, never stored here.

Its change is merged three-way from the commit's own parent; series.lock records what that makes of each path, so that an apply gives the same
trees everywhere. The commit is fetched once per checkout, with its parent, from the pin's git; a source distribution has no commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tunefork.base.errors import BadInput, SourceError
from tunefork.base.process import Say, quiet
from tunefork.patchset.git import Git
from tunefork.patchset.series import mail
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Mismatch, materialise
from tunefork.patchset.series.series import Series, pick_line, picked_commit
from tunefork.patchset.sources.mirror import FETCH_OPTIONS
from tunefork.patchset.sources.pins import Pin
from tunefork.patchset.sources.transfer import converse, reason

FETCH_SECONDS = 900.0
DIFF = ("--full-index", "--binary", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--diff-algorithm=myers", "-U3",
        "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null", "--submodule=short")  # fmt: skip


def obtained(series: Series, pin: Pin, git: Git, names: Iterable[str] | None = None, *, say: Say = quiet) -> Series:
    """The series with its picks (or those among ``names``) as patches, their objects in ``git``. SourceError where one cannot be had."""
    wanted = [name for name in (series.names if names is None else names) if name in series.picks and name not in series.obtained]
    if not wanted:
        return series
    found = {name: read(git, pin, name, series.picks[name], say) for name in wanted}
    return replace(series, obtained={**series.obtained, **found})


def read(git: Git, pin: Pin, name: str, sha: str, say: Say) -> PatchFile:
    """One upstream commit as a patch: its author, its date, its subject and where it comes from, its change against its parent."""
    if git.answer("rev-parse", "--verify", "--quiet", f"{sha}^^{{tree}}") is None:
        fetch(git, pin, name, sha, say)
    parents = git.text("rev-list", "-1", "--parents", sha).split()[1:]
    if len(parents) != 1:
        raise BadInput(f"pick {sha[:12]} has {len(parents)} parents; a pick takes a commit with one", "pick the commits that the merge brought")
    author, date, subject = git("log", "-1", "--encoding=UTF-8", "--date=raw", "--format=%an <%ae>%n%ad%n%s", sha).rstrip(b"\n").split(b"\n")
    change = git("diff-tree", "-p", *DIFF, parents[0], sha)
    origin = f"(cherry picked from commit {sha})".encode()
    return PatchFile(name, pick_line(sha), author, date, subject + b"\n\n" + origin + b"\n", change, picked=True)


def fetch(git: Git, pin: Pin, name: str, sha: str, say: Say) -> None:
    """Bring a commit and its parent from the pin's git, under a ref that keeps them."""
    say(f"{pin.name}: fetching {sha[:12]}, which the series picks, from {pin.url}")
    remote = Git(git.directory, user_config=True)
    done = converse(remote, *FETCH_OPTIONS, "fetch", "--depth=2", "--no-tags", "--force", "--no-write-fetch-head", "--no-recurse-submodules",
                    "--progress", pin.url, f"+{sha}:{ref(sha)}", timeout=FETCH_SECONDS, progress=True)  # fmt: skip
    if done.code:
        raise SourceError(f"{pin.name}: {name} picks commit {sha[:12]}, which cannot be fetched from {pin.url} ({reason(done, FETCH_SECONDS)})",
                          f"check the hash and the network; without it: python3 build.py apply {pin.name} --variant without:{name}")  # fmt: skip


def ref(sha: str) -> str:
    return f"refs/tunefork/picks/{sha}"


def kept(series: Series, git: Git, commits: Iterable[tuple[str, str, bytes]]) -> list[tuple[str, bytes]]:
    """(name, file) of exported commits, with a pick's line in place of its file where picking there makes the very tree of the commit.

    commits: (patch name, commit, its file). A pick that was edited, whatever of it, becomes a patch file of its own.
    """
    return [(name, series.files[name] if name in series.picks and remakes(git, series.patches[name], commit) else data) for name, commit, data in commits]


def remakes(git: Git, patch: PatchFile, commit: str) -> bool:
    """Whether a pick, made on a commit's parent, gives its tree."""
    try:
        made = materialise(git, git.text("rev-parse", f"{commit}^"), [patch])
    except Mismatch:
        return False
    return made[0].tree == git.text("rev-parse", f"{commit}^{{tree}}")


def patch_of(series: Series, name: str, data: bytes) -> PatchFile:
    """A patch from what the series folder holds, or will hold, of it."""
    return series.patches[name] if picked_commit(data) else mail.read(name, data)
