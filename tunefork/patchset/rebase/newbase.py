"""Where a series is to be rebased to: a tag or commit, a source distribution, a repository or a folder; in a scratch repository.

The scratch repository borrows the objects of the checkout or the cache and of a local repository, and gets nothing else written into
them: removing its folder undoes everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tunefork.base.errors import BadInput, SourceError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.typed import typed
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.git import Git
from tunefork.patchset.sources import mirror, packages, pins, sdist, sources
from tunefork.patchset.sources.pins import Pin
from tunefork.patchset.sources.transfer import converse, reason

Kind = Literal["git", "sdist", "folder"]
VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z]+)+")
COMMIT = re.compile(r"[0-9a-f]{40}")
NEW_REF, OLD_REF = "refs/rebase/new", "refs/rebase/old"  # the two bases, in the scratch repository


@dataclass(frozen=True)
class NewBase:
    """The base that a series goes to.

    label: what the user asked for.  commit: in the scratch repository.  tag, version: for the new pin ("" where not known).
    sdist: for kind "sdist".  since: what `git log` needs to list the commits between the pins; empty where there is no history, and
    ``no_history`` says why.
    """

    kind: Kind
    label: str
    commit: str
    tag: str = ""
    version: str = ""
    sdist: pins.Sdist | None = None
    since: tuple[str, ...] = ()
    no_history: str = ""


def scratch(directory: Path) -> Git:
    """A fresh bare repository."""
    directory.mkdir(parents=True)
    git = Git(directory)
    git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", ".")
    return git


def borrow(git: Git, stores: Iterable[Path]) -> None:
    """Read the objects of other repositories from this one. Where one of them is cut, this one is too, unless another has the parents."""
    known = git.directory / "objects" / "info" / "alternates"
    lines = known.read_text().splitlines() if known.is_file() else []
    folders = [str((store / "objects").resolve()) for store in stores]
    known.parent.mkdir(exist_ok=True)
    known.write_text("".join(f"{line}\n" for line in dict.fromkeys([*lines, *folders])))
    cut = {line for store in stores if (store / "shallow").is_file() for line in (store / "shallow").read_text().split()}
    parentless = [commit for commit in sorted(cut) if not has_parents(git, commit)]
    shallow = git.directory / "shallow"
    had = shallow.read_text().split() if shallow.is_file() else []
    if parentless or had:
        shallow.write_text("".join(f"{commit}\n" for commit in dict.fromkeys([*had, *parentless])))


def has_parents(git: Git, commit: str) -> bool:
    """Whether every parent that a commit names is there."""
    done = git.run("cat-file", "commit", commit)
    named = [line.split()[1].decode() for line in done.out.partition(b"\n\n")[0].split(b"\n") if line.startswith(b"parent ")]
    return done.code == 0 and all(git.run("cat-file", "-e", parent).code == 0 for parent in named)


def old_base(git: Git, layout: Layout, pin: Pin, say: Say) -> str:
    """The present pin's commit in the scratch repository: the checkout's where there is one, else as apply would get it."""
    first = checkouts.primary(layout, pin.name)
    state = first.state()
    if state is not None:
        borrow(git, [first.repository])
        commit = state.base
    elif (local := local_repository(pin.url)) and Git(local).run("cat-file", "-e", f"{pin.commit}^{{tree}}").code == 0:
        borrow(git, [local])
        commit = Git(local).text("rev-parse", f"{pin.commit}^{{commit}}")
    else:
        source = sources.obtain(pin, layout, say)
        borrow(git, [source.git_dir])
        commit = source.commit
    git("update-ref", OLD_REF, commit)
    return commit


def resolve(git: Git, layout: Layout, pin: Pin, to: str, say: Say) -> NewBase:
    """What ``to`` names, its commit made present in the scratch repository."""
    path, _, ref = (to, "", "") if Path(to).is_dir() else to.partition("@")
    if ("/" in path or path in (".", "..")) and Path(path).is_dir():  # a plain word is a tag, whatever lies in the current folder
        found = in_repository(git, pin, Path(path), ref or "HEAD", to) if is_repository(Path(path)) else folder(git, Path(path), to)
    elif "/" in to and (to.startswith((".", "/", "~")) or to.count("/") > 1):
        raise BadInput(f"--to {to}: there is no such folder", "name a tag, a commit, a version such as 0.33.0, or a folder that is there")
    elif VERSION.fullmatch(to) and pin.sdist:
        found = source_distribution(git, layout, pin, to, say)
    else:
        found = upstream_ref(git, layout, pin, pin.tag.replace(pin.version, to) if VERSION.fullmatch(to) else to, say)
    git("update-ref", NEW_REF, found.commit)
    return found


def is_repository(path: Path) -> bool:
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())


def local_repository(url: str) -> Path | None:
    """The git directory behind a URL where the user's configuration leads it to this machine; None for a remote."""
    real = Git(Path("/"), user_config=True).answer("ls-remote", "--get-url", url) or url
    path = Path(real.removeprefix("file://"))
    if not path.is_absolute() or not is_repository(path):
        return None
    return Path(Git(path).text("rev-parse", "--path-format=absolute", "--git-common-dir"))


def in_repository(git: Git, pin: Pin, path: Path, ref: str, label: str) -> NewBase:
    """A commit of a repository on this machine, with its history."""
    store = Path(Git(path).text("rev-parse", "--path-format=absolute", "--git-common-dir"))
    names = [f"refs/tags/{ref}", f"refs/heads/{ref}", ref] if ref != "HEAD" else ["HEAD"]
    answers = (Git(path).answer("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") for name in names)
    commit = next((each for each in answers if each), None)
    if commit is None:
        raise BadInput(f"--to {label}: {path} has no {ref}", f"`git -C {typed(path)} tag` and `git -C {typed(path)} branch` list what it has")
    borrow(git, [store])
    tag = ref if ref != "HEAD" else Git(path).answer("describe", "--tags", "--exact-match", "HEAD") or commit
    return with_history(git, pin, NewBase("git", label, commit, tag, version_of(tag, pin)))


def with_history(git: Git, pin: Pin, base: NewBase) -> NewBase:
    """The base with how to list the commits since the pin, where they are there."""
    if git.run("cat-file", "-e", f"{pin.commit}^{{commit}}").code == 0 and has_parents(git, base.commit):
        return replace(base, since=(base.commit, f"^{pin.commit}"))
    return replace(base, no_history=f"the repository does not hold the commits between {pin.tag} and {base.label}")


def version_of(tag: str, pin: Pin) -> str:
    """The version that a tag names; the old one where it names none."""
    version = tag.removeprefix("v")
    return version if VERSION.fullmatch(version) else pin.version


def folder(git: Git, path: Path, label: str) -> NewBase:
    """The files of an unpacked tree as a root commit; nothing is written there."""
    index = git.directory / "folder.index"
    staging = Git(git.directory, index=index)
    staging("--work-tree", str(path.resolve()), "add", "--all", "--force", ".")
    commit = staging("commit-tree", staging.text("write-tree"), "-m", f"The folder {path.name}").decode().strip()
    index.unlink()
    return NewBase("folder", label, commit, no_history="a folder has no history")


def source_distribution(git: Git, layout: Layout, pin: Pin, version: str, say: Say) -> NewBase:
    """A version's source distribution, its hash trusted when it is downloaded for the first time."""
    assert pin.sdist is not None
    what = take_sdist(git, layout, pin, version, "", say)
    return NewBase("sdist", version, what.commit, pin.tag.replace(pin.version, version), version, what,
                   no_history="a source distribution has no history")


def take_sdist(git: Git, layout: Layout, pin: Pin, version: str, like: str, say: Say) -> pins.Sdist:
    """The pin's table for a version's source distribution. like: a commit of the same content; what it lacks is what packaging added."""
    assert pin.sdist is not None
    archive, sha256 = packages.first_download(pin.sdist.name, version, kind="sdist", into=layout.cache / "downloads", say=say)
    what = pins.Sdist(pin.sdist.name, version, sha256, "", pin.sdist.added)
    commit = sdist.commit(git, what, archive, mirror.INCOMING)
    if like:
        extra = git("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=A", like, commit).split(b"\0")[:-1]
        if extra:
            what = replace(what, added=(*what.added, *(path.decode("utf-8", "surrogateescape") for path in extra)))
            commit = sdist.commit(git, what, archive, mirror.INCOMING)
    return replace(what, commit=commit)


def upstream_ref(git: Git, layout: Layout, pin: Pin, ref: str, say: Say) -> NewBase:
    """A tag, branch or commit of the upstream itself; where git does not answer, the source distribution that the tag's version names."""
    if local := local_repository(pin.url):
        return in_repository(git, pin, local, ref, ref)
    try:
        return fetched(git, pin, ref, say)
    except mirror.Unavailable as error:
        version = ref.removeprefix("v")
        if pin.sdist and VERSION.fullmatch(version):
            say(f"{pin.name}: git {error}; taking the source distribution")
            return source_distribution(git, layout, pin, version, say)
        raise SourceError(
            f"{pin.name} {ref}: git {error}: {pin.url}",
            "`git config --global url.<mirror>.insteadOf https://github.com/` names a mirror; --to takes a folder too",
        ) from None


def fetched(git: Git, pin: Pin, ref: str, say: Say) -> NewBase:
    """Fetch a ref of a remote, with the commits since the pin's tag where the remote gives them out."""
    remote = Git(git.directory, user_config=True)
    mirror.ask(remote, pin.url)
    commit, name = remote_commit(remote, pin.url, ref)
    say(f"{pin.name}: fetching {ref} ({commit[:12]}) from {pin.url}")
    why = fetch(remote, pin.url, name, f"--shallow-exclude=refs/tags/{pin.tag}")
    base = NewBase("git", ref, commit, ref, version_of(ref, pin))
    if why is None:
        why = fetch(remote, pin.url, name, "--deepen=1")  # the commits before the first ones, so that those have something to differ from
    if why is None:
        cut = git.directory / "shallow"
        return replace(base, since=(commit, *(f"^{each}" for each in (cut.read_text().split() if cut.is_file() else [pin.commit]))))
    if (again := fetch(remote, pin.url, name, "--depth=1")) is not None:
        raise mirror.Unavailable(f"does not give out {ref} ({again})")
    return replace(base, no_history=f"the remote does not give out the commits since {pin.tag} ({why})")


def fetch(remote: Git, url: str, name: str, depth: str) -> str | None:
    """Fetch one ref or commit to NEW_REF; None, or why not."""
    done = converse(remote, *mirror.FETCH_OPTIONS, "fetch", depth, "--no-tags", "--force", "--no-write-fetch-head", "--progress", url,
                    f"+{name}:{NEW_REF}", progress=True)  # fmt: skip
    return None if done.code == 0 else reason(done)


def remote_commit(git: Git, url: str, ref: str) -> tuple[str, str]:
    """(commit, the name to fetch it by) of a tag, branch or commit of a remote; BadInput where it has none such."""
    if COMMIT.fullmatch(ref):
        return ref, ref
    done = converse(git, *mirror.FETCH_OPTIONS, "ls-remote", url, f"refs/tags/{ref}", f"refs/tags/{ref}^{{}}", f"refs/heads/{ref}")
    if done.code:
        raise mirror.Unavailable(f"does not answer ({reason(done)})")
    found = {name: commit for commit, name in (line.split() for line in done.out.decode().splitlines())}
    for name in (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"):
        if name in found:
            return found[name], name.removesuffix("^{}")
    raise BadInput(f"{url} has no tag or branch {ref}", f"`git ls-remote --tags {url}` lists its tags; a commit is 40 hex digits")
