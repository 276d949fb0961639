"""Where an upstream's pinned commit comes from: the cache, git, or the source distribution; checked, and kept for every checkout.

One bare repository per upstream, ``<cache>/git/<upstream>.git``. A commit in it counts as had once ``refs/tunefork/<kind>/<commit>``
names it, which is written after everything the commit needs was found present; ``refs/tunefork/source`` remembers which kind was
obtained last. Whatever a killed process leaves besides is rubbish, and is removed by the next one that fetches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunefork.base.errors import SourceError, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.mutex import locked
from tunefork.base.process import Say
from tunefork.patchset.git import Git
from tunefork.patchset.sources import mirror, packages, sdist
from tunefork.patchset.sources.pins import Pin
from tunefork.patchset.sources.transfer import converse, reason

Kind = Literal["git", "sdist"]

CHOSEN = "refs/tunefork/source"
NO_COMMIT = "0" * 40

@dataclass(frozen=True)
class Source:
    """A pin's commit in the cache. git_dir: a bare repository (shallow for kind "git").  commit: 40 hex digits, a root for "sdist"."""

    kind: Kind
    git_dir: Path
    commit: str


def obtain(pin: Pin, layout: Layout, say: Say, kind: Kind | None = None) -> Source:
    """The pinned source, from the cache (no network, no lock), git or the source distribution. kind: only that one.

    SourceError when no source answers, with the reason of each, or when one of them is not what the pin says.
    """
    git_dir = layout.cache / "git" / f"{pin.name}.git"
    try:
        if source := _cached(pin, git_dir, kind):
            return source
        with locked(layout.cache / "locks" / f"{pin.name}.lock", say, f"{pin.name}: another process is fetching it, waiting"):
            return _cached(pin, git_dir, kind) or _obtain(pin, layout, git_dir, say, kind)
    except OSError as error:
        raise packages.disk_error(pin.name, error) from error


def reachable(pin: Pin, layout: Layout, timeout: float = 10.0) -> tuple[bool, str]:
    """Whether a source of the pin would answer now, and a line that says which or why not. timeout: seconds for each."""
    if source := _cached(pin, layout.cache / "git" / f"{pin.name}.git", None):
        return True, f"in the cache ({source.kind})"
    anywhere = Git(Path("/"), user_config=True)  # the cache may not exist yet
    done = converse(anywhere, *mirror.FETCH_OPTIONS, "ls-remote", pin.url, f"refs/tags/{pin.tag}", timeout=timeout)
    if done.code == 0:
        return True, f"git answers: {pin.url}"
    why = f"git: {reason(done, timeout)}"
    if pin.sdist is None:
        return False, why
    ok, line = packages.available(pin.sdist.name, pin.sdist.version, "sdist", timeout)
    return ok, f"{why}; {line}"


def submodules(pin: Pin, checkout: Path, say: Say, *, layout: Layout | None = None) -> list[Path]:
    """Fetch the submodules that the checkout's HEAD names, each at exactly its commit, and put them in place; their paths.

    Each is a worktree of its own repository in the cache, so that every checkout shares one copy.
    """
    layout = layout or Layout.here()
    tree, placed = Git(checkout), []
    for path, url in _gitmodules(tree, pin):
        commit = tree.text("rev-parse", f"HEAD:{path}")
        name = f"{pin.name}@{path.replace('/', '-')}"
        module = Pin(name, url, tag="", commit=commit, version="", submodules=False, sdist=None)
        source = obtain(module, layout, say)
        _place(source, checkout / path, say)
        placed.append(checkout / path)
    return placed


def _refs(pin: Pin) -> dict[Kind, str]:
    """The refs that guard a pin's commits, by kind of source; each ends in the commit as the pin has it."""
    refs: dict[Kind, str] = {"git": f"refs/tunefork/git/{pin.commit}"}
    if pin.sdist:
        refs["sdist"] = f"refs/tunefork/sdist/{pin.sdist.commit}"
    return refs


def _cached(pin: Pin, git_dir: Path, kind: Kind | None) -> Source | None:
    """What the cache has of a pin: of the wanted kind, or of the one obtained last, or of any. One git process."""
    if not (git_dir / "HEAD").is_file():
        return None
    refs = _refs(pin)
    asked = (CHOSEN, *refs.values())
    # A line for the commit and one for its tree: both must be there.
    names = [name for ref in asked for name in (ref, f"{ref}^{{tree}}")]
    done = Git(git_dir).run("cat-file", "--batch-check", stdin="".join(f"{name}\n" for name in names).encode())
    lines = [line.split() for line in done.out.decode().splitlines()]
    if done.code or len(lines) != len(names):
        return None
    had = {ref: commit[0] for ref, commit, tree in zip(asked, lines[::2], lines[1::2], strict=True)
           if commit[1:2] == ["commit"] and tree[1:2] == ["tree"]}  # fmt: skip
    commits = {name: commit for name, ref in refs.items() if (commit := had.get(ref, "")).startswith(ref.rpartition("/")[2])}
    order: Sequence[Kind] = (kind,) if kind else ("git", "sdist")
    found = sorted((name for name in order if name in commits), key=lambda name: commits[name] != had.get(CHOSEN))
    if not found or (kind and had.get(CHOSEN) != commits[kind]):
        return None  # the second: a kind asked for by name is remembered, which needs the lock
    return Source(found[0], git_dir, commits[found[0]])


def _obtain(pin: Pin, layout: Layout, git_dir: Path, say: Say, kind: Kind | None) -> Source:
    """Try git, then the source distribution, under the upstream's lock."""
    mirror.prepare(git_dir, tuple(_refs(pin).values()))
    reasons: list[str] = []
    remedy = "`git config --global url.<mirror>.insteadOf https://github.com/` names a mirror for git, http.proxy a proxy"
    if pin.url.startswith("file://"):
        remedy = f"bring that repository back; or `git config --global url.<where it is now>.insteadOf {pin.url}`"
    if kind in (None, "git"):
        try:
            return _from_git(pin, git_dir, say)
        except mirror.Unavailable as error:
            reasons.append(f"git {error}: {pin.url}")
            if kind is None and pin.sdist:
                say(f"{pin.name}: git {error}; taking the source distribution")
    if kind in (None, "sdist") and pin.sdist:
        try:
            return _from_sdist(pin, layout, git_dir, say)
        except SourceError as error:
            if not reasons:
                raise
            reasons.append(f"source distribution: {error.message}")
            remedy = f"{remedy}; for the source distribution: {error.remedy}"
    elif kind == "sdist":
        raise SourceError(f"{pin.name} has no source distribution in pins.toml", "leave the kind of source open, or ask for git")
    listed = "".join(f"\n    {line}" for line in reasons)
    raise SourceError(f"no source of {pin.name} {pin.tag or pin.commit[:12]} answers:{listed}", remedy)


def _from_git(pin: Pin, git_dir: Path, say: Say) -> Source:
    """Fetch exactly the pinned commit, without history."""
    git, hermetic = Git(git_dir, user_config=True), Git(git_dir)
    if len(pin.commit) < len(NO_COMMIT):
        return _from_tag(pin, git, hermetic, say)
    if not mirror.whole(hermetic, pin.commit):
        mirror.ask(git, pin.url)
        say(f"{pin.name}: fetching commit {pin.commit[:12]} from {pin.url}")
        done = mirror.fetch(git, pin.url, pin.commit)
        if done is not None and pin.tag:
            # Some servers give out only what a branch or tag names.
            done = mirror.fetch(git, pin.url, f"refs/tags/{pin.tag}")
        if done is not None:
            raise mirror.Unavailable(f"does not give out commit {pin.commit[:12]} ({done})")
        came = hermetic.text("rev-parse", f"{mirror.INCOMING}^{{commit}}")
        if came != pin.commit:
            raise _wrong_tag(pin, came)
        if not mirror.whole(hermetic, pin.commit):
            raise mirror.Unavailable(f"gave out commit {pin.commit[:12]} without some of its files")
    return _keep(hermetic, Source("git", git_dir, pin.commit), pin.commit)


def _from_tag(pin: Pin, git: Git, hermetic: Git, say: Say) -> Source:
    """Fetch the tag of a pin whose commit is abbreviated; no server gives out an abbreviation."""
    mirror.ask(git, pin.url)
    say(f"{pin.name}: fetching {pin.tag} from {pin.url}")
    if (why := mirror.fetch(git, pin.url, f"refs/tags/{pin.tag}")) is not None:
        raise mirror.Unavailable(f"does not give out {pin.tag} ({why})")
    came = hermetic.text("rev-parse", f"{mirror.INCOMING}^{{commit}}")
    if not came.startswith(pin.commit):
        raise _wrong_tag(pin, came)
    if not mirror.whole(hermetic, came):
        raise mirror.Unavailable(f"gave out {pin.tag} without some of its files")
    say(f"{pin.name}: {pin.tag} is commit {came}; `python3 build.py rebase {pin.name} --to {pin.tag}` writes it into pins.toml")
    return _keep(hermetic, Source("git", git.directory, came), pin.commit)


def _from_sdist(pin: Pin, layout: Layout, git_dir: Path, say: Say) -> Source:
    """Make the source distribution's files a root commit."""
    assert pin.sdist is not None
    hermetic = Git(git_dir)
    if not mirror.whole(hermetic, pin.sdist.commit):
        what = pin.sdist
        archive = packages.download(what.name, what.version, what.sha256, kind="sdist", into=layout.cache / "downloads", say=say)
        say(f"{pin.name}: making a commit of {archive.name}")
        came = sdist.commit(hermetic, what, archive, mirror.INCOMING)
        if came != what.commit:
            raise SourceError(f"{archive.name} makes commit {came}, pins.toml says {what.commit}",
                              f"if upstreams.{pin.name}.sdist was changed on purpose, write the new commit there")
        if not mirror.whole(hermetic, what.commit):
            raise SourceError(f"{archive.name} was not stored whole in {git_dir}", "run the command again")
    return _keep(hermetic, Source("sdist", git_dir, pin.sdist.commit), pin.sdist.commit)


def _keep(git: Git, source: Source, pinned: str) -> Source:
    """Vouch for a commit, guard it from gc, and remember its kind. pinned: the commit as the pin has it."""
    ref = f"refs/tunefork/{source.kind}/{pinned}"
    git("update-ref", ref, source.commit)
    git("symbolic-ref", CHOSEN, ref)
    git("update-ref", "-d", mirror.INCOMING)
    return source


def _wrong_tag(pin: Pin, came: str) -> SourceError:
    return SourceError(f"{pin.url}: tag {pin.tag} is commit {came}, pins.toml says {pin.commit}",
                       "the tag was moved, or the mirror is of something else: find out before you change the pin")


def _gitmodules(tree: Git, pin: Pin) -> list[tuple[str, str]]:
    """(path, url) of each submodule that HEAD's .gitmodules names."""
    listed = tree.run("config", "--blob", "HEAD:.gitmodules", "--null", "--get-regexp", r"^submodule\..*\.(path|url)$")
    fields: dict[str, dict[str, str]] = {}
    for item in listed.out.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = item.partition("\n")
        name, _, field = key.rpartition(".")
        fields.setdefault(name, {})[field] = value
    found = [(module["path"], module["url"]) for module in fields.values() if "path" in module and "url" in module]
    for path, url in found:
        if url.startswith(("-", ".")) or ".." in Path(path).parts or Path(path).is_absolute():
            raise SourceError(f"{pin.name}: .gitmodules names {path!r} at {url!r}, which is not taken",
                              f"look at the .gitmodules of {pin.name}")
    return found


def _place(source: Source, path: Path, say: Say) -> None:
    """Check a submodule out as a worktree of its repository; a mark in the worktree's git directory says that it was finished."""
    cache = Git(source.git_dir)
    if not (path / ".git").exists():
        if path.is_dir() and any(path.iterdir()):
            raise WorkAtRisk(f"{path} should hold a submodule, it holds files of its own", f"move them away from {path}")
        cache("worktree", "prune")
        cache("worktree", "add", "--force", "--no-checkout", "--detach", str(path), source.commit)
    tree = Git(path)
    mark = Path(tree.text("rev-parse", "--absolute-git-dir")) / "tunefork-placed"
    if mark.is_file() and tree.text("rev-parse", "HEAD") == source.commit:
        return
    if mark.is_file() and tree.run("diff-index", "--quiet", "HEAD", "--").code:
        raise WorkAtRisk(f"{path} has changes, and HEAD wants it at {source.commit[:12]}", f"commit or discard them in {path}")
    say(f"placing {path.name} at {source.commit[:12]}")
    mark.unlink(missing_ok=True)
    tree("reset", "--quiet", "--hard", source.commit)
    mark.touch()
