"""A checkout of an upstream: ``work/vllm``, or ``work/vllm@only-P`` beside it, a worktree of the same repository."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tunefork.base import mutex
from tunefork.base.errors import PatchConflict, TuneforkError, WorkAtRisk
from tunefork.base.files import copy_whole, write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.transaction import Transaction
from tunefork.base.typed import typed
from tunefork.patchset.checkout import state
from tunefork.patchset.checkout.state import State
from tunefork.patchset.git import NAME, Git
from tunefork.patchset.sources.pins import Pin

if TYPE_CHECKING:
    from tunefork.patchset.sources.sources import Source

PRIMARY = "primary"
MARK = b"held by tunefork\n"  # in an index.lock of ours
PARKED = "parked.json"  # among the notes, while a patch is parked (park.py)
PIN_REF = "refs/tunefork/pin"
FIRST_BRANCH = "tunefork/base"  # a checkout is made at the unpatched pin


@dataclass(frozen=True)
class Checkout:
    """One checkout. key: "primary", or the variant's slug for one that stands beside it."""

    upstream: str
    path: Path
    key: str = PRIMARY

    @cached_property
    def git(self) -> Git:
        return Git(self.path)

    @cached_property
    def repository(self) -> Path:
        """The git directory that all checkouts of this upstream share."""
        plain = self.path / ".git"
        return plain if plain.is_dir() else self.path.with_name(self.upstream) / ".git"

    @property
    def git_dir(self) -> Path:
        """The checkout's own git directory: HEAD, index and operations in progress."""
        plain = self.path / ".git"
        return plain if plain.is_dir() else Path(plain.read_text().strip().removeprefix("gitdir: "))

    @property
    def notes(self) -> Path:
        """Tunefork's own folder in the shared git directory."""
        return self.repository / "tunefork"

    @property
    def state_file(self) -> Path:
        return self.notes / f"{self.key}.json"

    @property
    def journal_file(self) -> Path:
        return self.notes / f"{self.key}.journal"

    @property
    def moving(self) -> Transaction:
        """A move to another commit (switch.py)."""
        return Transaction(self.journal_file)

    @property
    def making_file(self) -> Path:
        """There while the checkout is being made; with no state file beside it, the making was interrupted."""
        return self.notes / f"{self.key}.making"

    def apply_command(self, variant: str) -> str:
        """What to type so that this checkout holds a variant of the series as it is now."""
        options = ("" if variant == "all" else f" --variant {variant}") + ("" if self.key == PRIMARY else " --beside")
        return f"python3 build.py apply {self.upstream}{options}"

    def branch(self, slug: str) -> str:
        """The branch that a variant is on here; git allows a branch in one worktree only."""
        return f"tunefork/{slug}" if self.key == PRIMARY else f"beside/{slug}"

    def exists(self) -> bool:
        return (self.path / ".git").exists()

    def whole(self) -> bool:
        """Whether it is there and was made to its end."""
        return self.exists() and (self.state_file.is_file() or not self.making_file.is_file())

    def state(self) -> State | None:
        """What is applied here; None where there is no checkout of ours. A lost state file is derived again from the refs."""
        if not self.exists():
            return None
        return state.load(self.state_file) or self.derived_state()

    def own_state(self) -> State:
        """What is applied here; WorkAtRisk where the folder holds something that Tunefork did not make."""
        found = self.state()
        if found is None:
            raise WorkAtRisk(f"{self.path} is not a checkout that Tunefork made", f"move it away: mv {typed(self.path)} {typed(self.path, '.old')}")
        return found

    def derived_state(self) -> State | None:
        """The state without its list of patches: the next apply makes them again."""
        base = self.git.answer("rev-parse", "--verify", "--quiet", PIN_REF)
        if base is None:
            return None
        kind = "sdist" if self.git.text("log", "-1", "--format=%an", base) == NAME else "git"
        tree = self.git.text("rev-parse", f"{base}^{{tree}}")
        return State("unknown", self.head()[0], kind, base, tree, exact=True, patches=())

    def head(self) -> tuple[str, str]:
        """(branch or "" when detached, commit), read without a git process where the ref is a plain file."""
        try:
            text = (self.git_dir / "HEAD").read_text().strip()
            if text.startswith("ref: refs/heads/"):
                return text[len("ref: refs/heads/") :], (self.repository / text[5:]).read_text().strip()
        except OSError:  # packed, or not there: git says
            pass
        branch = self.git.answer("symbolic-ref", "--quiet", "--short", "HEAD") or ""
        return branch, self.git.text("rev-parse", "HEAD")


def commit_at(checkout: Checkout, ref: str) -> str | None:
    """The commit of a ref of the shared repository, read without a git process where it is a plain file; None where there is none."""
    try:
        return (checkout.repository / ref).read_text().strip()
    except OSError:
        return checkout.git.answer("rev-parse", "--verify", "--quiet", ref)


def applied_ref(branch: str) -> str:
    """Where the last applied commit of a branch is kept: commits beyond it are the user's, unexported."""
    return f"refs/tunefork/applied/{branch}"


def primary(layout: Layout, upstream: str) -> Checkout:
    return Checkout(upstream, layout.checkout(upstream))


def beside_primary(layout: Layout, upstream: str, slug: str) -> Checkout:
    found = Checkout(upstream, layout.checkout(upstream, slug), slug)
    mend_links(primary(layout, upstream), found.path)
    return found


def mend_links(first: Checkout, worktree: Path, repository: Path | None = None) -> None:
    """Join a worktree with its repository again after the project's folder was moved or copied.

    repository: where it is another than the checkouts'.

    `git worktree repair` would follow the old paths, and in a copy redirect the original's worktree to the copy.
    """
    link = worktree / ".git"
    if not link.is_file() or not (repository or first.path / ".git").is_dir():
        return
    admin = (repository or first.repository) / "worktrees" / Path(link.read_text().strip()).name
    if link.read_text() != f"gitdir: {admin}\n" and admin.is_dir():
        write_atomically(admin / "gitdir", f"{link}\n".encode())
        write_atomically(link, f"gitdir: {admin}\n".encode())


def all_checkouts(layout: Layout, upstream: str) -> list[Checkout]:
    """The primary checkout and every one beside it that a state file knows."""
    first = primary(layout, upstream)
    if not first.exists():
        return []
    slugs = sorted(path.stem for path in first.notes.glob("*.json") if path.stem not in (PRIMARY, "parked"))
    return [first, *(each for slug in slugs if (each := beside_primary(layout, upstream, slug)).exists())]


def holder(layout: Layout, first: Checkout, spec: str, slug: str, *, beside: bool) -> Checkout:
    """The checkout a variant belongs in: the primary, or one beside it unless the primary already holds the variant."""
    if not beside:
        return first
    here = first.state()
    return first if here is not None and here.variant == spec else beside_primary(layout, first.upstream, slug)


def state_of_primary(layout: Layout, upstream: str) -> State:
    return primary(layout, upstream).own_state()


def refuse_parked(layout: Layout, upstream: str) -> None:
    """While a patch is parked nothing else is applied: the series is being changed."""
    if Transaction(layout.checkout(upstream) / ".git" / "tunefork" / PARKED).under_way:
        raise PatchConflict(f"{upstream}: a patch is parked in {layout.checkout(upstream, 'parked')}",
                            f"resolve it there, then `python3 build.py apply {upstream} --continue`; or `--abort`")


def lock_file(layout: Layout, upstream: str) -> Path:
    return layout.work / ".locks" / upstream


def busy(layout: Layout, upstream: str) -> bool:
    """Whether another Tunefork process holds an upstream's checkouts."""
    return mutex.busy(lock_file(layout, upstream))


@contextmanager
def locked(layout: Layout, upstream: str, say: Say) -> Iterator[None]:
    """Hold an upstream's checkouts against other Tunefork processes."""
    waiting = f"{upstream}: another Tunefork command works on it, waiting"
    with ExitStack() as stack:
        try:
            stack.enter_context(mutex.locked(lock_file(layout, upstream), say, waiting))
        except OSError as error:
            raise cannot_write(layout.work, error) from error
        yield


def clear_lock(checkout: Checkout) -> None:
    """Remove an index lock of ours that a kill left between two steps; another's stays."""
    hold = checkout.git_dir / "index.lock"
    if hold.is_file() and hold.read_bytes() == MARK:
        hold.unlink()


def cannot_write(where: Path, error: OSError) -> TuneforkError:
    return TuneforkError(f"cannot write in {where}: {error.strerror}", "make it writable, or free space, then run this again")


def create(layout: Layout, pin: Pin, source: Source, say: Say) -> Checkout:
    """Make the primary checkout at the pin; built under another name and renamed, so that it is whole or absent."""
    checkout = primary(layout, pin.name)
    if checkout.path.exists() and any(checkout.path.iterdir()):
        raise occupied(checkout.path)
    fresh = layout.work / f".creating-{pin.name}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    say(f"{pin.name}: checking out {pin.tag} ({source.kind})")
    try:
        fill(Checkout(pin.name, fresh), pin, source)
    except OSError as error:
        raise cannot_write(fresh, error) from error
    finally:
        if not Checkout(pin.name, fresh).state_file.is_file():
            shutil.rmtree(fresh, ignore_errors=True)  # a full disk gets its space back
    if checkout.path.exists():
        checkout.path.rmdir()
    os.replace(fresh, checkout.path)
    return checkout


def fill(unborn: Checkout, pin: Pin, source: Source) -> None:
    """The repository, the work tree at the pin, and last the state."""
    git, fresh = unborn.git, unborn.path
    git("init", "--quiet", "--template=", f"--initial-branch={FIRST_BRANCH}")
    borrow_objects(source.git_dir, fresh / ".git")
    git("config", "remote.upstream.url", pin.url)
    git("config", "remote.upstream.fetch", "+refs/heads/*:refs/remotes/upstream/*")
    git("update-ref", PIN_REF, source.commit)
    git("update-ref", f"refs/heads/{FIRST_BRANCH}", source.commit)
    git("update-ref", applied_ref(FIRST_BRANCH), source.commit)
    git("read-tree", "--reset", "-u", source.commit)
    state.save(unborn.state_file, base_state(unborn, source, FIRST_BRANCH))


def occupied(path: Path) -> WorkAtRisk:
    return WorkAtRisk(f"{path} is there and is no checkout of Tunefork's", f"move it away: mv {typed(path)} {typed(path, '.old')}")


def base_state(checkout: Checkout, source: Source, branch: str) -> State:
    tree = checkout.git.text("rev-parse", f"{source.commit}^{{tree}}")
    return State("base", branch, source.kind, source.commit, tree, exact=True, patches=())


def create_beside(layout: Layout, checkout: Checkout, base: State, commit: str, say: Say) -> None:
    """Make a worktree at a commit, where none is or where one was killed half-way (its file ``making`` tells)."""
    first = primary(layout, checkout.upstream)
    if checkout.path.exists():
        if checkout.making_file.is_file():
            first.git.run("worktree", "remove", "--force", "--force", str(checkout.path))
        if checkout.path.exists() and any(checkout.path.iterdir()):
            raise occupied(checkout.path)
    say(f"{checkout.upstream}: making {checkout.path.name}")
    branch = checkout.branch(checkout.key)
    checkout.state_file.unlink(missing_ok=True)
    write_atomically(checkout.making_file, b"")
    first.git("worktree", "prune")
    first.git("update-ref", "--stdin", stdin=f"update refs/heads/{branch} {commit}\nupdate {applied_ref(branch)} {commit}\n".encode())
    first.git("worktree", "add", "--quiet", "--force", str(checkout.path), branch)
    state.save(checkout.state_file, State("base", branch, base.source, base.base, base.base_tree, exact=True, patches=()))
    checkout.making_file.unlink()


def borrow_objects(cache: Path, git_dir: Path) -> None:
    """Bring the cache's objects in by hard links (copies across file systems): the checkout outlives the cache.

    A pack's index comes last: git reads no pack without one, and takes one with it for whole.
    """
    for path in sorted((cache / "objects").rglob("*"), key=lambda each: each.suffix == ".idx"):
        inner = path.relative_to(cache)
        if path.is_dir() or path.name.startswith("tmp_") or inner.parts[:2] == ("objects", "info"):
            continue
        target = git_dir / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            continue
        try:
            os.link(path, target)
        except OSError:
            copy_whole(path, target, target.with_name(f"tmp_tunefork_{os.getpid()}_{target.name}"))  # git prunes tmp_*
    if (cache / "shallow").is_file():
        copy_whole(cache / "shallow", git_dir / "shallow")
