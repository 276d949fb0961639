"""Import: a folder of somebody's patches becomes the series of an upstream, on any git base, canonical and locked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput, PatchConflict, SourceError
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.base.typed import typed
from tunefork.patchset.author import conclude as concluding
from tunefork.patchset.author import foreign, placing
from tunefork.patchset.author.foreign import Foreign
from tunefork.patchset.author.stack import Draft, Stack, opened, refuse_unexported
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import repin
from tunefork.patchset.checkout.workspace import Workspace
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import newbase
from tunefork.patchset.series.diff import HunkMismatch
from tunefork.patchset.series.lock import Lock, Touch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import GITLINK, Made, Tree, commit_command, write
from tunefork.patchset.series.series import Series
from tunefork.patchset.sources import mirror, pins, sources
from tunefork.patchset.sources.pins import Pin


@dataclass(frozen=True)
class ImportedPatch:
    """One patch. file: what it was in the folder.  notes: where it had to be placed elsewhere than it says."""

    name: str
    file: str
    subject: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """An import. base: the commit that the series is on.  tree: what all of it makes.  passed: files without a diff."""

    upstream: str
    base: str
    tree: str
    patches: tuple[ImportedPatch, ...]
    passed: tuple[str, ...]
    dry_run: bool
    seconds: float


def import_folder(
    layout: Layout, folder: Path, upstream: str, *, base: str = "", repository: str = "", dry_run: bool = False, say: Say = quiet
) -> Imported:
    """Make a folder's patches the end of an upstream's series. An upstream that pins.toml does not have needs ``base`` and ``repository``.

    PatchConflict names the first that does not apply; then nothing was changed.
    """
    begin = time.monotonic()
    patches, passed = foreign.read_folder(folder)
    repin.recover(layout, upstream, say)
    known = pins.load(layout) if layout.pins.is_file() else {}
    with base_of(layout, upstream, known.get(upstream), base, repository, say) as stack:
        names = rename_taken(patches, stack.series)
        made = [*stack.made, *commits(stack, patches, names)]
        drafts = [*stack.drafts, *(Draft(name, each.author, each.date, each.message, (new.commit,))
                                   for name, each, new in zip(names, patches, made[len(stack.made) :], strict=True))]  # fmt: skip
        plan = concluding.planned(stack, "import", drafts, made, dry_run=dry_run)
        rest = None if dry_run else concluding.conclude(stack, plan, made, say, hold="" if upstream in known else "all")
    if rest:
        rest()
    rows = tuple(ImportedPatch(name, each.file, each.message.split(b"\n")[0].decode("utf-8", "replace"), tuple(each.notes))
                 for name, each in zip(names, patches, strict=True))  # fmt: skip
    return Imported(upstream, stack.state.base, plan.report.tree, rows, tuple(passed), dry_run, round(time.monotonic() - begin, 3))


@contextmanager
def base_of(layout: Layout, upstream: str, pin: Pin | None, base: str, repository: str, say: Say) -> Iterator[Stack]:
    """The stack that the patches go onto: a known upstream's series, or a new upstream's bare base."""
    if pin is not None:
        if repository and repository != pin.url:
            raise BadInput(f"{upstream} is in pins.toml already, with another repository: {pin.url}", "take another --upstream name")
        if base and base not in (pin.tag, pin.version, pin.commit) and not (len(base) >= 7 and pin.commit.startswith(base)):
            raise BadInput(f"--base {base}: {upstream} is pinned to {pin.tag} ({pin.commit[:12]})",
                           f"leave --base out and rebase afterwards (python3 build.py rebase {upstream} --to {base}), or take another --upstream name")
        with opened(layout, upstream, say) as stack:
            repin.refuse_edit(layout, upstream)
            refuse_unexported(stack)
            yield stack
        return
    if not repository or not base:
        raise BadInput(f"{upstream} is not in pins.toml: an import needs to know what the patches go onto",
                       f"add --repo <path or URL of a git repository> --base <tag or commit>; or name one of pins.toml: {', '.join(known_names(layout))}")
    if not pins.UPSTREAM_NAME.fullmatch(upstream):
        raise BadInput(f"--upstream {upstream!r}: expected a name of lower-case letters, digits and dashes", "such as --upstream linux")
    fresh = new_pin(upstream, repository, base)
    directory = layout.series_dir(upstream)
    if directory.is_dir() and any(directory.iterdir()):
        raise BadInput(f"{directory} holds files, and pins.toml has no upstream {upstream}", "move them away, or take another --upstream name")
    with checkouts.locked(layout, upstream, say):
        first = checkouts.primary(layout, upstream)
        if made_here := not first.exists():
            checkouts.create(layout, fresh, sources.obtain(fresh, layout, say), say)
        state = checkouts.state_of_primary(layout, upstream)
        if state.base != fresh.commit:
            raise BadInput(f"{first.path} is a checkout of another commit ({state.base[:12]})",
                           f"move it away: mv {typed(first.path)} {typed(first.path, '.old')}")
        try:
            yield Stack(Workspace(layout, fresh, Series(upstream, directory, {}), Lock(fresh.commit, ()), first, state), [])
        finally:
            if made_here and not (layout.pins.is_file() and upstream in pins.load(layout)):  # a trial, or a patch that does not apply
                shutil.rmtree(first.path)


def known_names(layout: Layout) -> list[str]:
    return list(pins.load(layout)) if layout.pins.is_file() else ["(there is no pins.toml yet)"]


def new_pin(upstream: str, repository: str, base: str) -> Pin:
    """The pin of an upstream that nobody knows yet: a repository on this machine or elsewhere, at a tag, branch or commit."""
    local = Path(repository).expanduser()
    if not local.exists() and not pins.URL[0](repository):
        raise BadInput(f"--repo {repository!r} is no URL that pins.toml can hold", "write a blank in it as %20")
    if newbase.is_repository(local):
        commit = Git(local).answer("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}")
        if commit is None:
            raise BadInput(f"{local} has no {base}", f"`git -C {typed(local)} tag` and `git -C {typed(local)} branch -a` list what it has")
        url = local.resolve().as_uri()
    elif "/" in repository and not re_url(repository):
        raise BadInput(f"--repo {repository}: there is no git repository", "name a folder that holds one, or a URL")
    else:
        url, remote = repository, Git(Path("/"), user_config=True)
        try:
            commit = newbase.remote_commit(remote, repository, base)[0]
        except mirror.Unavailable as error:
            raise SourceError(f"{repository}: git {error}", "name a repository on this machine, or a mirror") from None
    tag = base if pins.TAG[0](base) and base != "HEAD" else commit
    version = tag.removeprefix("v")
    return Pin(upstream, url, tag, commit, version if newbase.VERSION.fullmatch(version) else "0", submodules=False, sdist=None)


def re_url(text: str) -> bool:
    """Whether git would take this for a remote."""
    return "://" in text or (":" in text and "/" not in text.partition(":")[0])


def rename_taken(patches: Sequence[Foreign], series: Series) -> list[str]:
    """The names that the patches get: their own, unless the series has them."""
    taken = set(series.names)
    names = []
    for each in patches:
        names.append(foreign.fresh_name(each.name, taken))
        taken.add(names[-1])
    return names


def commits(stack: Stack, patches: Sequence[Foreign], names: Sequence[str]) -> list[Made]:
    """The patches as commits on the stack; PatchConflict at the first that does not apply."""
    try:
        return onto(stack.git, stack.tip, patches, names)
    except Unfit as unfit:
        where = f"{stack.pin.tag if len(stack.pin.tag) < 40 else stack.pin.commit[:12]}"
        before = f" and the {unfit.place} before it" if unfit.place else ""
        again = ("`quilt push --fuzz=2 && quilt refresh` in a tree of it, patch by patch, writes ones that fit" if unfit.quilt else
                 f"`git format-patch {where}..<their tip>` in their repository writes ones that fit")  # fmt: skip
        raise PatchConflict(f"{unfit.file} does not apply to {stack.upstream} {where}{before}: {unfit}",
                            f"nothing was imported; is --base the commit that the patches were made on? {again}") from None


class Unfit(Exception):
    """A patch that does not apply. file: its name.  place: how many before it do."""

    def __init__(self, file: str, place: int, why: str, *, quilt: bool) -> None:
        super().__init__(why)
        self.file, self.place, self.quilt = file, place, quilt


def onto(git: Git, tip: str, patches: Sequence[Foreign], names: Sequence[str]) -> list[Made]:
    """The patches as commits on a commit; Unfit at the first that does not apply."""
    tree = Tree.read(git, tip)
    first = {change.old_path for each in patches for change in each.changes}
    tree.prefetch({tree.entries[path][1] for path in first if path in tree.entries and tree.entries[path][0] != GITLINK})
    stream = bytearray()
    done: list[tuple[PatchFile, tuple[Touch, ...]]] = []
    for each, name in zip(patches, names, strict=True):
        head = PatchFile(name, b"", each.author, each.date, each.message, b"")
        try:
            touches = placing.apply(tree, each.file, each.changes, each.notes, quilt=each.quilt)
            if not touches:
                raise HunkMismatch("it changes nothing there")
        except HunkMismatch as mismatch:
            raise Unfit(each.file, len(done), str(mismatch), quilt=each.quilt) from None
        stream += commit_command(tree, head, touches, len(done) + 1, f":{len(done)}" if done else tip)
        done.append((head, touches))
    return write(git, bytes(stream), done)
