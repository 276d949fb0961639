"""The bare repository in which the cache keeps one upstream: made sound, filled from a remote, checked for being whole."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tunefork.base.errors import SourceError
from tunefork.patchset.git import Git
from tunefork.patchset.sources.transfer import converse, reason

CONNECT_SECONDS = 20.0
INCOMING = "refs/tunefork/incoming"

# The user's configuration holds for the address (insteadOf, proxy, credentials), not for what happens in our repository.
FETCH_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "safe.directory=*",
                 "-c", "fetch.writeCommitGraph=false", "-c", "fetch.unpackLimit=1", "-c", "fetch.prune=false")  # fmt: skip

# What a killed git leaves in a repository: half-written packs and objects, and locks that nobody holds any more.
RUBBISH = ("objects/pack/tmp_*", "objects/pack/.tmp*", "objects/tmp_*", "objects/??/tmp_obj_*", "fast_import_crash_*", "*.lock",
           "refs/**/*.lock")  # fmt: skip


class Unavailable(Exception):
    """A remote does not answer, or does not have what is asked for; the message goes on after the word "git"."""


def prepare(git_dir: Path, refs: Sequence[str]) -> None:
    """A sound bare repository without what killed processes left. refs: what the wanted commits would be guarded by."""
    git = Git(git_dir)
    if not (git_dir / "HEAD").is_file():
        git_dir.mkdir(parents=True, exist_ok=True)
        git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", ".")
    for pattern in RUBBISH:
        for left in git_dir.glob(pattern):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    git.run("update-ref", "-d", INCOMING)
    if any(git.answer("rev-parse", "--verify", "--quiet", ref) and not whole(git, ref) for ref in refs):
        # git would keep a damaged pack instead of the same one fetched again.
        for index in git_dir.glob("objects/pack/*.idx"):
            if git.run("verify-pack", str(index)).code:
                index.unlink()
                index.with_suffix(".pack").unlink(missing_ok=True)
        for ref in refs:
            git.run("update-ref", "-d", ref)


def whole(git: Git, commit: str) -> bool:
    """Whether a commit and everything below it is there (every object is looked up, none is read)."""
    return git.run("rev-list", "--objects", "--quiet", "--max-count=1", commit, "--").code == 0


def ask(git: Git, url: str) -> None:
    """Unavailable unless a remote answers in time: git has no such limit of its own for a connection that nobody takes."""
    done = converse(git, *FETCH_OPTIONS, "ls-remote", url, "HEAD", timeout=CONNECT_SECONDS)
    if done.code:
        raise Unavailable(f"does not answer ({reason(done, CONNECT_SECONDS)})")


def fetch(git: Git, url: str, wanted: str) -> str | None:
    """Fetch one commit or tag to INCOMING; None, or why not."""
    done = converse(git, *FETCH_OPTIONS, "fetch", "--depth=1", "--no-tags", "--force", "--no-write-fetch-head",
                    "--no-recurse-submodules", "--progress", url, f"+{wanted}:{INCOMING}", progress=True)  # fmt: skip
    if done.code == 0:
        return None
    if "No space left" in done.err or "File too large" in done.err or "quota exceeded" in done.err:
        raise SourceError(f"{git.directory}: {reason(done)}", "free some space, or set TUNEFORK_CACHE to a folder on another disk")
    return reason(done)
