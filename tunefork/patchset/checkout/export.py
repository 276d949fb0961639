"""Turn the commits on a variant's branch back into patch files, series and lock; and take hand-edited files into the lock.

A file that did not change is not touched. After an export the branch is moved to the canonical commits: the same trees, with our committer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunefork.base import mutex
from tunefork.base.errors import BadInput, PatchConflict, WorkAtRisk
from tunefork.base.files import remove, write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import apply, repin, work
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.state import State
from tunefork.patchset.git import Git
from tunefork.patchset.series import canonical, mail, picks, variant
from tunefork.patchset.series.lock import Lock
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Mismatch, materialise, merge_file
from tunefork.patchset.series.series import PICK, SUFFIX, Series, entry_name, picked_commit
from tunefork.patchset.sources import sources
from tunefork.patchset.sources.pins import pin_of


@dataclass(frozen=True)
class Exported:
    """What an export wrote, or under dry_run would write. Paths are relative to the series' folder.

    pulled: files that changed in patches/ (or were taken out) since the checkout was applied, and stay so: its commits are older, and
    ``remedy`` brings them up.
    """

    upstream: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    pulled: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def writes(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def same(self) -> bool:
        """Whether the files are what the commits say."""
        return not (self.writes or self.pulled)


def export(layout: Layout, upstream: str, spec: str | None = None, *, dry_run: bool = False, say: Say = quiet) -> Exported:
    """Export the commits of a checkout. spec: the variant whose checkout is meant; None is the primary's.

    Raises WorkAtRisk for a checkout in the middle of a git operation, BadInput for merges and empty commits, PatchConflict when a
    changed patch no longer goes together with one that the variant leaves out.
    """
    repin.recover(layout, upstream, say)
    pin = pin_of(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        series = Series.load(upstream, layout.series_dir(upstream))
        checkout, state = meant(layout, upstream, spec)
        check_ready(checkout, state, say)
        files = canonical.files(checkout.git, state.base, "HEAD")
        series = picks.obtained(series, pin, checkout.git, say=say)
        given = zip(name_commits(files, state, series), files, strict=True)
        commits = picks.kept(series, checkout.git, ((name, commit, data) for (name, data), (commit, _) in given))
        named = with_pulled(commits, {commit for commit, _ in files}, state, series, checkout)
        pulled = newer(commits, named)
        handled = {patch.name for patch in state.patches} | {name for name, _ in named}
        if set(series.names) - handled or named != commits:  # the variant leaves them out, or they came since it was applied
            named = weave(checkout.git, state, series, named, handled)
        report, lock = plan(series, named, checkout.git, state.base, pin.commit)
        if left := tuple(name for name in pulled if name not in report.changed):
            report = replace(report, pulled=left, remedy=checkout.apply_command(state.variant))
        if dry_run:
            return report
        write(series.directory, dict(named), report, lock)
    if report.writes or checkout.head()[1] != state.commit:
        settle(layout, upstream, checkout, state, [name for name, _ in commits], say)
    return report if checkout.state() == state else replace(report, pulled=(), remedy="")  # settled: its commits are the files' again


def meant(layout: Layout, upstream: str, spec: str | None) -> tuple[Checkout, State]:
    """The checkout that holds a variant, and its state."""
    for checkout in checkouts.all_checkouts(layout, upstream):
        state = checkout.state()
        if state is not None and spec in (None, state.variant):
            return checkout, state
    raise BadInput(f"no checkout of {upstream} holds {spec or 'a variant'}", f"python3 build.py apply {upstream} --variant {spec or 'all'}")


def check_ready(checkout: Checkout, state: State, say: Say) -> None:
    """Refuse a checkout whose branch is not what would be exported; tell of changes that no commit holds."""
    found = work.find(checkout)
    if found.operation or found.elsewhere:
        what = f"a {found.operation} in progress" if found.operation else f"HEAD on {found.elsewhere}"
        gone = checkout.git.answer("rev-parse", "--verify", "--quiet", f"refs/heads/{state.branch}") is None
        back = f"`git branch -m {state.branch}`" if gone else f"`git checkout {state.branch}`"
        raise WorkAtRisk(f"{checkout.path.name} has {what}; the commits of {state.branch} are what is exported",
                         f"{'finish it, then ' if found.operation else ''}{back} in {checkout.path}")
    if found.modified:
        say(f"{checkout.path.name}: {len(found.modified)} modified files are in no commit and are not exported")


def name_commits(files: Sequence[tuple[str, bytes]], state: State, series: Series) -> list[tuple[str, bytes]]:
    """(patch name, file) per commit: by commit, then by subject (in order, where several share one), then a fresh name."""
    known = {patch.commit: patch.name for patch in state.patches}
    names: list[str | None] = [known.get(commit) for commit, _ in files]
    subjects = [mail.read(commit, data).subject for commit, data in files]
    for at, subject in enumerate(subjects):
        if names[at] is None:
            names[at] = next((name for name, patch in series.patches.items() if patch.subject == subject and name not in names), None)
    for at, (subject, (_, data)) in enumerate(zip(subjects, files, strict=True)):
        if names[at] is None:
            names[at] = fresh_name(subject, {name for name in names if name} | set(series.names) | strangers(series, data))
    return [(name, data) for name, (_, data) in zip(names, files, strict=True) if name]


def strangers(series: Series, data: bytes) -> set[str]:
    """Names of files in the series' folder that no line names and that hold something else: an author put them there."""
    return {path.name.removesuffix(SUFFIX) for path in series.directory.glob("*" + SUFFIX)
            if path.name.removesuffix(SUFFIX) not in series.files and path.read_bytes() != data}  # fmt: skip


def with_pulled(
    named: list[tuple[str, bytes]], commits: set[str], state: State, series: Series, checkout: Checkout
) -> list[tuple[str, bytes]]:
    """The commits' files, with those that changed in patches/ since the apply (a pull) in place of commits that did not change.

    WorkAtRisk where a patch changed on both sides. commits: those that are exported.
    """
    applied = {patch.name: patch.sha256 for patch in state.patches}
    untouched = {patch.name for patch in state.patches if patch.commit in commits}
    found = []
    for name, data in named:
        file = series.files.get(name)
        if name not in applied or file == data or (file is not None and sha256_of(file) == applied[name]):
            found.append((name, data))
        elif name not in untouched and sha256_of(data) != applied[name]:
            what = "taken out of the series" if file is None else "changed in patches/"
            raise WorkAtRisk(f"{name} was changed in {checkout.path.name}, and {what} since it was applied",
                             f"put the file in {series.directory} and its line in `series` back as applied, export, then merge the two")
        elif file is not None:
            found.append((name, file))
    return found


def newer(commits: list[tuple[str, bytes]], named: list[tuple[str, bytes]]) -> list[str]:
    """The files that ``with_pulled`` put in place of commits, or left out with them."""
    stays = dict(named)
    return [name + SUFFIX for name, data in commits if stays.get(name) != data]


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fresh_name(subject: str, taken: set[str]) -> str:
    """A file name from a subject: its words without ``[tags]``, lower case, at most 50 characters."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\[[^\]]*\]", " ", subject).lower())
    stem = "-".join(words)[:50].strip("-") or "patch"
    numbered = (f"{stem}-{number}" for number in range(2, 1000))
    return stem if stem not in taken else next(name for name in numbered if name not in taken)


def weave(
    git: Git, state: State, series: Series, named: list[tuple[str, bytes]], handled: set[str]
) -> list[tuple[str, bytes]]:
    """Put exported patches back among those of the series that the checkout does not hold, and replay the whole series."""
    fresh = dict(named)
    order: list[str] = []
    queue = list(fresh)
    for name in series.names:
        if name not in handled:
            order.append(name)
            continue
        if name in queue:
            at = queue.index(name)
            order += queue[: at + 1]
            queue = queue[at + 1 :]
        if state.variant == f"upto:{name}":  # commits at its end go where the variant ends
            order += queue
            queue = []
    order += queue
    patches = [picks.patch_of(series, name, fresh.get(name) or series.files[name]) for name in order]
    try:
        made = materialise(git, state.base, patches, merge_file(git))
    except Mismatch as mismatch:
        raise PatchConflict(f"after this change {mismatch.message}",
                            "make the change on the whole series instead: python3 build.py apply --variant all") from None
    files = canonical.files(git, state.base, made[-1].commit) if made else []
    return [(each.name, patch.data if patch.picked else data) for each, patch, (_, data) in zip(made, patches, files, strict=True)]


def plan(series: Series, named: Sequence[tuple[str, bytes]], git: Git, base: str, pinned: str) -> tuple[Exported, Lock]:
    """What would change on disk, and the lock that goes with it. Every file is read back and must make the same trees."""
    patches: list[PatchFile] = [picks.patch_of(series, name, data) for name, data in named]
    made = materialise(git, base, patches)
    lock = Lock(pinned, canonical.lock_entries(made, {patch.name: patch.sha256 for patch in patches}))
    new = dict(named)
    changed = [name + SUFFIX for name, data in named if name in series.files and series.files[name] != data]
    if list(new) != series.names or any(not picked_commit(new[name]) for name in series.picks if name in new):
        changed.append("series")
    if (old := Lock.of(series)) is None or old.text() != lock.text():
        changed.append("series.lock")
    added = tuple(name + SUFFIX for name in new if name not in series.files)
    removed = tuple(name + SUFFIX for name in series.names if name not in new)
    if not new and old is None:
        changed.remove("series.lock")
    return Exported(series.upstream, added, tuple(changed), removed), lock


def write(directory: Path, files: dict[str, bytes], report: Exported, lock: Lock) -> None:
    """Write what changed; the lock last, so that a kill in between shows as a mismatch that exporting again repairs."""
    with mutex.folder(directory):
        for leftover in directory.glob("*.tmp[0-9]*"):
            remove(leftover)
        for name, data in files.items():
            if name + SUFFIX in (*report.added, *report.changed):
                write_atomically(directory / (name + SUFFIX), data)
        if "series" in report.changed:
            write_atomically(directory / "series", series_text(directory / "series", files).encode())
        for entry in report.removed:
            remove(directory / entry)
        if "series.lock" in report.changed:
            lock.save(directory)


def series_text(path: Path, files: Mapping[str, bytes], renamed: Mapping[str, str] | None = None) -> str:
    """The order file with new names, keeping the comments at its top and those that stand on a kept patch's line.

    files: name -> bytes.  renamed: old name -> new, where a line is to follow.
    """
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    top: list[str] = []
    for line in old:
        if line.strip() and not line.lstrip().startswith("#"):
            break
        top.append(line)
    kept = {entry_name(str(path), entry): line for line in old if (entry := line.partition("#")[0].strip())}
    for was, now in (renamed or {}).items():
        if line := kept.pop(was, ""):
            kept[now] = line.replace(was, now, 1)
    kept = {name: line for name, line in kept.items() if name in files and bool(PICK.match(line.strip())) == bool(picked_commit(files[name]))}
    return "\n".join([*top, *(kept.get(name, name + SUFFIX) for name in files)]) + "\n"


def settle(layout: Layout, upstream: str, checkout: Checkout, state: State, names: list[str], say: Say) -> None:
    """Move the branch from the user's commits to the canonical ones of the files just written; the trees are the same.

    names: of the patches that were exported. A variant that would leave one of them out is widened to hold it.
    """
    checkout.git("update-ref", checkouts.applied_ref(state.branch), "HEAD")
    series = Series.load(upstream, layout.series_dir(upstream))
    spec = widened(state.variant, [name for name in names if name in series.files], series)
    beside = checkout.key != checkouts.PRIMARY
    if spec != state.variant:
        outcome = "keeps its variant, which leaves some of it out" if beside else f"now holds {spec}"
        say(f"{checkout.path.name}: exported; the checkout {outcome}")
    if not beside or spec == state.variant:
        apply.apply(layout, upstream, spec, beside=beside, say=say)


def widened(spec: str, names: list[str], series: Series) -> str:
    """The variant that holds what was exported: the old one where it does, else the nearest that does."""
    kind, _, rest = spec.partition(":")
    known = kind in ("base", "all", "only", "without", "upto") and set(filter(None, rest.split(","))) <= set(series.names)
    if known and set(names) <= set(variant.choose(spec, series).names):
        return spec
    if kind == "upto" and names:
        return f"upto:{names[-1]}"
    if kind in ("base", "only", "upto"):
        return f"only:{','.join(names)}" if names else "base"
    return "all"


def lock_series(layout: Layout, upstream: str, *, check: bool = False, say: Say = quiet) -> Exported:
    """Take the patch files as they are: replay them on the pin, put them in canonical form, write the lock.

    A patch whose context matches but whose index line is stale (a hand edit) is accepted; a later one of the same file is merged over it,
    from the blobs that it was made from. One that does not go raises Mismatch.
    """
    repin.recover(layout, upstream, say)
    pin = pin_of(layout, upstream)
    with checkouts.locked(layout, upstream, say):
        if not checkouts.primary(layout, upstream).exists():
            checkouts.create(layout, pin, sources.obtain(pin, layout, say), say)
        series = Series.load(upstream, layout.series_dir(upstream))
        state = checkouts.state_of_primary(layout, upstream)
        git = checkouts.primary(layout, upstream).git
        series = picks.obtained(series, pin, git, say=say)
        made = materialise(git, state.base, list(series.patches.values()), merge_file(git), trust_index=False)
        files = canonical.files(git, state.base, made[-1].commit) if made else []
        named = [(each.name, series.files[each.name] if each.name in series.picks else data) for each, (_, data) in zip(made, files, strict=True)]
        report, lock = plan(series, named, git, state.base, pin.commit)
        if not check:
            write(series.directory, dict(named), report, lock)
    return report


