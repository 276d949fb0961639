"""The pin that pins.toml will hold after a rebase."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tunefork.base.errors import BadInput, SourceError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import newbase
from tunefork.patchset.rebase.newbase import NewBase
from tunefork.patchset.sources import mirror, packages, pins, sdist
from tunefork.patchset.sources.pins import Pin


def pin_for(git: Git, layout: Layout, pin: Pin, base: NewBase, commit: str, say: Say) -> tuple[Pin, list[str]]:
    """The new pin, and what the user should know of it. commit: what the user says the tag's commit is, for a source distribution.

    BadInput where the base is none that others can fetch, or its commit cannot be known.
    """
    if base.kind == "folder":
        raise BadInput(f"--to {base.label} is a folder: a pin needs a commit that others can fetch",
                       "add --check to try it; to move the pin, name a tag, a commit or a version")
    if base.kind == "git":
        if commit and commit != base.commit:
            raise BadInput(f"--commit {commit[:12]}: {base.label} is commit {base.commit[:12]}", "leave --commit out: git knows it")
        if base.commit.startswith(pin.commit):
            return replace(pin, tag=base.tag, version=base.version, commit=base.commit), []
        moved = replace(pin, tag=base.tag, version=base.version, commit=base.commit, sdist=None)
        return with_sdist(git, layout, pin, moved, say)
    assert base.sdist is not None
    if base.version == pin.version and base.sdist == pin.sdist:
        return pin, []
    named = sdist.named_commit(kept(layout, base.sdist, say))
    known = commit or tag_commit(pin, base.tag) or (named if pins.ABBREVIATED[0](named) else "")
    if not known:
        raise BadInput(f"this source distribution does not say which commit {base.tag} is, and git does not answer: {pin.url}",
                       f"add --commit <40 digits>: where git answers, `git ls-remote {pin.url} '{base.tag}*'` prints them (of the line "
                       "that ends in ^{}, if there is one)")
    if commit and not newbase.COMMIT.fullmatch(known):
        raise BadInput(f"--commit {known}: expected 40 lower-case hex digits", f"`git ls-remote {pin.url} {base.tag}` prints them")
    if not known.startswith(named):
        whose = "you say" if commit else f"{pin.url} has"
        raise BadInput(f"{base.tag}: {whose} commit {known[:12]}, the source distribution says that it is of {named}",
                       "they are not of the same content: find out which one is meant before you pin either")
    notes = [trusted(base.sdist), *stays_behind(layout, pin)]
    if commit:
        checked = f"the source distribution says {named}, which agrees" if named else "nothing here could check it"
        notes.append(f"that {base.tag} is commit {commit[:12]} is as you said; {checked}")
    elif not newbase.COMMIT.fullmatch(known):
        notes.append(f"commit {known}, as the source distribution abbreviates it: git did not answer. Where it does, "
                     f"`python3 build.py rebase {pin.name} --to {base.tag}` writes all 40 digits")
    return replace(pin, tag=base.tag, version=base.version, commit=known, sdist=base.sdist), notes


def kept(layout: Layout, table: pins.Sdist, say: Say) -> Path:
    """The archive of a source distribution that was downloaded already."""
    return packages.download(table.name, table.version, table.sha256, kind="sdist", into=layout.cache / "downloads", say=say)


def with_sdist(git: Git, layout: Layout, pin: Pin, moved: Pin, say: Say) -> tuple[Pin, list[str]]:
    """The pin with the source distribution of its version, where the old one had one and the index has the new."""
    if pin.sdist is None or moved.version == pin.version:
        gone = ["the source distribution is not pinned any more: the new pin is no released version"] if pin.sdist else []
        return moved, gone
    try:
        table = newbase.take_sdist(git, layout, pin, moved.version, moved.commit, say)
    except SourceError as error:
        return moved, [f"the source distribution is not pinned any more: {error.message.splitlines()[0]}", *stays_behind(layout, pin)]
    return replace(moved, sdist=table), [trusted(table), *stays_behind(layout, pin)]


def trusted(table: pins.Sdist) -> str:
    return f"sha256 of the {table.version} source distribution, trusted at its first download: {table.sha256}"


def stays_behind(layout: Layout, pin: Pin) -> list[str]:
    """A line on the wheel of CPU operators, which must be of vLLM's version and is not moved."""
    try:
        wheel = pins.cpu_operators(layout)
    except BadInput:
        return []
    if pin.sdist is None or not wheel.name.startswith(pin.sdist.name) or wheel.version != pin.version:
        return []
    return [f"[cpu-operators] is still {wheel.name} {wheel.version}: pin the wheel of the new version for `develop --target cpu`"]


def tag_commit(pin: Pin, tag: str) -> str | None:
    """The commit of a tag as git answers, None where it does not."""
    if local := newbase.local_repository(pin.url):
        return Git(local).answer("rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    try:
        return newbase.remote_commit(Git(Path("/"), user_config=True), pin.url, tag)[0]
    except (mirror.Unavailable, BadInput):
        return None
