"""What a folder of patches makes of a base by each tool: ours, ``git am``, ``quilt push -a`` and ``dpkg-source``; as a tree of one scratch repository."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from world import USER

from tunefork.base.errors import TuneforkError
from tunefork.patchset.author import foreign, importing
from tunefork.patchset.git import Git

RIGHT, REFUSED, WRONG, ALONE, NEITHER = "right", "refused", "WRONG", "taken by us alone", "refused by both"
CHANGELOG = "corpus (1-1) unstable; urgency=low\n\n  * Corpus.\n\n -- A <a@b>  Sat, 01 Jan 2000 00:00:00 +0000\n"
CONTROL = "Source: corpus\nMaintainer: A <a@b>\nStandards-Version: 4.6.0\n\nPackage: corpus\nArchitecture: all\nDescription: corpus\n"


@dataclass(frozen=True)
class Outcome:
    """tree: what came out, None where the tool refused.  said: why.  log: author, date and message of every commit, where the tool makes commits."""

    tree: str | None
    said: str = ""
    log: str = ""


def call(words: list[str], folder: Path, *, env: dict[str, str] | None = None, stdin: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(words, cwd=folder, env={**os.environ, **USER, "LC_ALL": "C", **(env or {})}, input=stdin, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").strip()


def must(words: list[str], folder: Path, **more: dict[str, str]) -> str:
    code, said = call(words, folder, **more)
    assert code == 0, (words, said)
    return said


def repository(folder: Path, base: Path) -> str:
    """A repository in ``folder`` whose one commit is the files of ``base``; the commit."""
    folder.mkdir(parents=True)
    must(["git", "init", "--quiet", "."], folder)
    must(["git", f"--work-tree={base}", "add", "--all", "--force"], folder)
    must(["git", "commit", "--quiet", "--allow-empty", "-m", "base"], folder)
    return must(["git", "rev-parse", "HEAD"], folder)


def base(folder: Path, files: Mapping[str, tuple[int, bytes]]) -> tuple[Path, str]:
    """A repository below ``folder`` whose one commit holds these files (mode, content); and that commit."""
    for name, (mode, data) in files.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    return folder / "repository", repository(folder / "repository", folder / "files")


@contextmanager
def checked_out(repository: Path, base: str) -> Iterator[Path]:
    """A work tree of its own at the base."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        place = Path(scratch) / "tree"
        must(["git", "worktree", "add", "--quiet", "--detach", str(place), base], repository)
        try:
            yield place
        finally:
            must(["git", "worktree", "remove", "--force", str(place)], repository)


def ours(repository: Path, base: str, patches: Path) -> Outcome:
    git = Git(repository)
    try:
        found, _ = foreign.read_folder(patches)
        made = importing.onto(git, base, found, [each.name for each in found])
    except (TuneforkError, importing.Unfit) as error:
        return Outcome(None, f"{getattr(error, 'message', error)}; {getattr(error, 'remedy', '')}")
    log = git("log", "--reverse", "--format=%an|%ae|%ad|%B", f"{base}..{made[-1].commit}").decode("utf-8", "replace").strip()
    return Outcome(made[-1].tree, "; ".join(note for each in found for note in each.notes), unstopped(log))


def unstopped(log: str) -> str:
    """A log without the stops around its authors' names, which git 2.39 takes off and git 2.47 keeps."""
    return re.sub(r"(?m)^[ .]*([^|\n]*?)[ .]*(?=\|[^|\n]*\|[^|\n]*\|)", r"\1", log)


def git_am(repository: Path, base: str, patches: Path) -> Outcome:
    """``git am`` as somebody types it who wants the patches whole: line ends and tags like [ROCm] kept."""
    mails = [str(path) for path in sorted(patches.iterdir()) if foreign.is_patch(path) and b"\n" in path.read_bytes() and not is_cover(path)]
    with checked_out(repository, base) as place:
        code, said = call(["git", "am", "--keep-cr", "--keep-non-patch", "--no-scissors", "--committer-date-is-author-date", *mails], place)
        if code:
            return Outcome(None, said)
        log = call(["git", "log", "--reverse", "--format=%an|%ae|%ad|%B", f"{base}..HEAD"], place)[1]
        return Outcome(must(["git", "rev-parse", "HEAD^{tree}"], place), log=unstopped(log))


def is_cover(path: Path) -> bool:
    return path.name.startswith("0000-")


def quilt(repository: Path, base: str, patches: Path) -> Outcome:
    """``quilt push -a`` without fuzz, as dpkg-source has it."""
    with checked_out(repository, base) as place, tempfile.TemporaryDirectory() as pc:
        environment = {"QUILT_PATCHES": str(patches), "QUILT_PC": f"{pc}/pc", "QUILT_PATCH_OPTS": "-F0", "QUILTRC": os.devnull}
        code, said = call(["quilt", "push", "-a"], place, env=environment)
        return Outcome(None, said) if code else Outcome(work_tree(place))


def dpkg_source(repository: Path, base: str, patches: Path) -> Outcome:
    """``dpkg-source -x`` of a 3.0 (quilt) package made of the base and the patches; ``--before-build`` would pass over a first patch that does not fit."""
    with checked_out(repository, base) as place, tempfile.TemporaryDirectory(prefix="corpus-dsc-") as scratch:
        made = Path(scratch)
        (made / "debian" / "source").mkdir(parents=True)
        shutil.copytree(patches, made / "debian" / "patches")
        for name, text in (("source/format", "3.0 (quilt)\n"), ("changelog", CHANGELOG), ("control", CONTROL)):
            (made / "debian" / name).write_text(text)
        archives = {"corpus_1.orig.tar.gz": ["-C", str(place.parent), "--exclude=.git", "--transform=s,^tree,corpus-1,", place.name],
                    "corpus_1-1.debian.tar.gz": ["-C", scratch, "debian"]}  # fmt: skip
        files = ""
        for name, words in archives.items():
            must(["tar", "-czf", str(made / name), *words], made)
            data = (made / name).read_bytes()
            files += f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
        (made / "corpus_1-1.dsc").write_text(
            f"Format: 3.0 (quilt)\nSource: corpus\nBinary: corpus\nArchitecture: all\nVersion: 1-1\nMaintainer: A <a@b>\nChecksums-Sha256:\n{files}"
            f"Files:\n{files_md5(made, archives)}")  # fmt: skip
        code, said = call(["dpkg-source", "--no-check", "-x", "corpus_1-1.dsc", "out"], made)
        if code:
            return Outcome(None, said)
        for name in ("debian", ".pc"):
            shutil.rmtree(made / "out" / name, ignore_errors=True)
        must(["git", f"--work-tree={made / 'out'}", "add", "--all", "--force"], place)
        return Outcome(must(["git", "write-tree"], place))


def files_md5(folder: Path, names: Iterable[str]) -> str:
    """The lines of a .dsc's field Files."""
    whole = [(name, (folder / name).read_bytes()) for name in names]
    return "".join(f" {hashlib.md5(data, usedforsecurity=False).hexdigest()} {len(data)} {name}\n" for name, data in whole)


def work_tree(place: Path) -> str:
    must(["git", "add", "--all", "--force"], place)
    return must(["git", "write-tree"], place)


def verdict(mine: Outcome, theirs: Outcome) -> str:
    if mine.tree is None:
        return NEITHER if theirs.tree is None else REFUSED
    if theirs.tree is None:
        return ALONE
    return RIGHT if mine.tree == theirs.tree else WRONG
