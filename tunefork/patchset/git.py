"""The one place where git is run, through GitPython: bytes in, bytes out, and nothing of the caller's environment by accident.
(transfer.py starts its long fetches itself, with the arguments and the environment made here: GitPython shows no progress.)

Two manners. Hermetic (the default): no user or system configuration, no hooks, no signing, a fixed identity and date; the same
command gives the same objects on every machine. ``user_config=True``, for fetching only: the user's own configuration holds, so that
``url.<base>.insteadOf`` mirrors, proxies and credentials work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tunefork.base.errors import MissingTool, TuneforkError
from tunefork.base.typed import typed

if TYPE_CHECKING:
    from git.cmd import Git as GitPython

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git gets our message, not an import error

# What `git rev-parse --local-env-vars` lists, and what else would change the objects or the answers.
REPOSITORY_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX",
    "GIT_INTERNAL_SUPER_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES",
    "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_QUARANTINE_PATH",
)  # fmt: skip
CONFIGURATION_VARIABLES = (
    "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "GIT_CONFIG_NOSYSTEM", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
    "GIT_TEMPLATE_DIR", "GIT_ATTR_SOURCE", "GIT_DEFAULT_HASH", "GIT_INDEX_VERSION", "GIT_TRACE", "GIT_TRACE2", "GIT_EDITOR",
    "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE",
)  # fmt: skip

NAME, EMAIL = "Tunefork", "tunefork@localhost"
LITTLE_SPACE = 1 << 20  # bytes; with less than this free, that is why git failed
EPOCH = "946684800 +0000"  # 2000-01-01: the date of what has none of its own

HERMETIC_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "GIT_AUTHOR_NAME": NAME,
    "GIT_AUTHOR_EMAIL": EMAIL,
    "GIT_AUTHOR_DATE": EPOCH,
    "GIT_COMMITTER_NAME": NAME,
    "GIT_COMMITTER_EMAIL": EMAIL,
    "GIT_COMMITTER_DATE": EPOCH,
    "TZ": "UTC",
}
# These beat the configuration of the repository itself, which a user may have changed.
HERMETIC_OPTIONS = {
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.safecrlf": "false",
    "core.fileMode": "true",
    "core.symlinks": "true",
    "core.ignoreCase": "false",
    "core.precomposeUnicode": "false",
    "core.quotePath": "true",
    "core.fsmonitor": "false",
    "core.untrackedCache": "false",
    "core.splitIndex": "false",
    "core.commitGraph": "false",
    "apply.whitespace": "nowarn",
    "apply.ignoreWhitespace": "no",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "diff.renames": "true",
    "diff.context": "3",
    "diff.interHunkContext": "0",
    "diff.noprefix": "false",
    "diff.mnemonicPrefix": "false",
    "diff.orderFile": os.devnull,
    "diff.suppressBlankEmpty": "false",
    "color.ui": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "i18n.commitEncoding": "UTF-8",
    "merge.conflictStyle": "merge",
    "rerere.enabled": "false",
    "safe.directory": "*",
    "submodule.recurse": "false",
    "advice.detachedHead": "false",
}


OWN_REPOSITORY = {"safe.bareRepository": "all"}
"""Beside the user's configuration, which may forbid bare repositories: those that we run git in are our own."""


class GitError(TuneforkError):
    """git ended with an exit code that the caller did not expect."""


@dataclass(frozen=True)
class Outcome:
    """What a git command left: its exit code, stdout as bytes, stderr as text."""

    code: int
    out: bytes
    err: str


class Git:
    """git in one directory. Calling it runs a command and returns its stdout as bytes."""

    def __init__(self, directory: Path, *, user_config: bool = False, index: Path | None = None) -> None:
        """directory: a work tree or a bare repository.  index: a temporary index to use in place of the repository's."""
        self.directory = directory
        self.user_config = user_config
        self.environment = {"GIT_TERMINAL_PROMPT": "0"} if user_config else dict(HERMETIC_ENVIRONMENT)
        if index is not None:
            self.environment["GIT_INDEX_FILE"] = str(index)

    @cached_property
    def _git(self) -> GitPython:
        """Imported by the first command: GitPython takes longer to load than an `apply` with nothing to do takes."""
        try:
            from git.cmd import Git as GitPython
        except ImportError as error:  # it runs `git version` as it is imported, under the user's own configuration
            why = str(error).strip().splitlines()[-1].strip() if str(error).strip() else "no reason given"
            raise MissingTool(f"git does not start: {why}", "`git version` shows what is wrong; a line of ~/.gitconfig may be") from None

        return GitPython(str(self.directory))

    def command(self, args: tuple[str, ...]) -> list[str]:
        """The argument vector: GitPython always passes our environment on, so what must not reach git is unset before it."""
        unwanted = REPOSITORY_VARIABLES + (() if self.user_config else CONFIGURATION_VARIABLES)
        present = [name for name in unwanted if name in os.environ and name not in self.environment]
        unset = ["env", *(word for name in present for word in ("-u", name))] if present else []
        options = OWN_REPOSITORY if self.user_config else HERMETIC_OPTIONS | self._no_filters
        return [*unset, "git", *(word for key, value in options.items() for word in ("-c", f"{key}={value}")), *args]

    @cached_property
    def _no_filters(self) -> dict[str, str]:
        """Options that switch off the filters of the repository's own configuration: a patch's .gitattributes would say which files they get."""
        import subprocess

        try:
            text = (repository(self.directory) / "config").read_bytes().lower()
        except OSError:
            return {}
        if b"filter" not in text and b"include" not in text and b"worktreeconfig" not in text:  # of nearly every repository: no process is started
            return {}
        words = ["git", "config", "-z", "--name-only", "--get-regexp", r"^filter\."]
        done = subprocess.run(words, cwd=self.directory, env={**os.environ, **HERMETIC_ENVIRONMENT}, capture_output=True, check=False)
        names = {name.rpartition(".")[0] for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name}
        return {f"{name}.{key}": value for name in sorted(names) for key, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))}

    def check_directory(self) -> None:
        """GitPython runs in the caller's folder where ours is missing: in whatever repository that happens to be."""
        if not self.directory.is_dir():
            raise GitError(f"{self.directory} is not there", "`python3 build.py apply` makes the checkouts anew")

    def run(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Outcome:
        """Run a command to its end, whatever its exit code."""
        import tempfile

        self.check_directory()
        git = self._git
        from git.exc import GitCommandNotFound

        environment = {**self.environment, **(env or {})}
        with tempfile.TemporaryFile() as source:
            source.write(stdin or b"")
            source.seek(0)
            try:
                code, out, err = git.execute(
                    self.command(args),
                    istream=source,
                    env=environment,
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                )
            except GitCommandNotFound as error:
                raise MissingTool("git is not installed", "install git 2.34 or newer") from error
        return Outcome(int(code), bytes(out), str(err))

    def __call__(self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
        """Run a command that must succeed."""
        done = self.run(*args, stdin=stdin, env=env)
        if done.code:
            words = " ".join(args[:6])
            why = f"`git {words}` in {self.directory} ended with exit code {done.code}: {done.err.strip()}"
            raise GitError(why, advice(self.directory, done.err))
        return done.out

    def text(self, *args: str) -> str:
        """Run a command that must succeed and return its answer, decoded and stripped."""
        return self(*args).decode("utf-8", "surrogateescape").strip()

    def answer(self, *args: str) -> str | None:
        """Like text(), with None where the command says no."""
        done = self.run(*args)
        return None if done.code else done.out.decode("utf-8", "surrogateescape").strip()

    @contextmanager
    def pipe(self, *args: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """A running command as (its stdin, its stdout), for git's batch protocols; it must end well."""
        import subprocess  # GitPython's own handle is a Popen; only the constant is ours to name

        self.check_directory()
        process = self._git.execute(self.command(args), istream=subprocess.PIPE, env=self.environment, as_process=True)
        child = process.proc
        assert child is not None and child.stdin is not None and child.stdout is not None and child.stderr is not None
        try:
            yield child.stdin, child.stdout
            child.stdin.close()
            child.stdout.read()
            err = child.stderr.read().decode("utf-8", "replace")
            if child.wait():
                raise GitError(f"`git {' '.join(args)}` in {self.directory} ended with {child.returncode}: {err.strip()}")
        finally:
            if child.poll() is None:
                child.kill()
            for stream in (child.stdin, child.stdout, child.stderr):
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
            child.wait()


def repository(directory: Path) -> Path:
    """The git directory that a work tree's configuration is in; a bare repository is its own."""
    own = directory / ".git"
    if not own.is_file():
        return own if own.is_dir() else directory
    linked = directory / own.read_text(encoding="utf-8", errors="surrogateescape").removeprefix("gitdir:").strip()
    common = linked / "commondir"
    return linked / common.read_text(encoding="utf-8", errors="surrogateescape").strip() if common.is_file() else linked


def advice(directory: Path, said: str = "") -> str:
    """What to do about an error that is the machine's; git often does not say that the disk is full or read-only. said: its own words."""
    folder = next(each for each in (directory, *directory.parents) if each.is_dir())
    if shutil.disk_usage(folder).free < LITTLE_SPACE:
        return f"the disk is full: free space (in {folder}), then run this again"
    if "Permission denied" in said or "Operation not permitted" in said:
        return f"another user's file, or one that may not be read or written: `chmod -R u+rwX {typed(folder)}` (as its owner), then run this again"
    return "" if os.access(folder, os.W_OK) else f"{folder} is read-only: make it writable, then run this again"
