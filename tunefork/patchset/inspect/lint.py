"""Lint: does each patch say what patches/README.md asks, and is what it says true? Errors fail CI, warnings are for the author.

A rule is a function from (upstream, patch, its changes) to findings, listed in RULES. Dependencies are checked by trial application,
which needs the upstream checked out; where it is not, the finding says "skipped".
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput, LockMismatch, PatchConflict, TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout.bring import compose, undeclared
from tunefork.patchset.checkout.workspace import Workspace
from tunefork.patchset.series import diff, mail, picks, scope, variant
from tunefork.patchset.series.diff import FileChange
from tunefork.patchset.series.lock import Lock, Touch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import ABSENT, Merge, Mismatch, Tree, merge_file, outcome
from tunefork.patchset.series.series import SUFFIX, Series
from tunefork.patchset.sources.pins import Pin, pin_of

TRAILERS = {
    "Upstream-Status": (r"Pending|Submitted https://\S+|Backport [0-9a-f]{40}|Inappropriate \S.*",
                        "Pending | Submitted <url> | Backport <sha> | Inappropriate <why>"),
    "Scope": (r"python|native|config", "python | native | config"),
    "Verified-by": (r"\S.*", "the command that proves it without an AMD GPU"),
    "Expected-gain": (r"\S.*", "what, where, why"),
    "Signed-off-by": (r"\S.* <\S+@\S+>", "Name <mail>"),
}  # fmt: skip
UPSTREAM_TESTS = r"none \S.*|tests/\S+( (tests/\S+|op_tests/\S+))*|op_tests/\S+( op_tests/\S+)*"
LONG_SUBJECT = 76
MANY_LINES = 400
THICK_HUNK = 60  # added lines in one hunk of an existing file: new behaviour belongs in a new file
MUCH_CONTEXT = 12  # lines of context per changed line: the change is scattered


@dataclass(frozen=True)
class Finding:
    """One thing lint has to say. level: "error", "warning" or "skipped"."""

    upstream: str
    patch: str
    rule: str
    level: str
    message: str
    remedy: str


Rule = Callable[[str, PatchFile, list[FileChange]], Iterator[tuple[str, str, str]]]
"""Yields (level, message, remedy)."""


def trailers(_upstream: str, patch: PatchFile, _changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """Every trailer once, with a value of its form."""
    for key, (form, meaning) in TRAILERS.items():
        values = patch.trailers(key)
        if not values:
            yield "error", f"no `{key}:` in the last paragraph", f"add `{key}: {meaning}`"
        elif len(values) > 1 and key != "Signed-off-by":
            yield "error", f"`{key}:` stands {len(values)} times", "keep one"
        elif not re.fullmatch(form, values[0]):
            yield "error", f"`{key}: {values[0]}` is not of its form", f"write `{key}: {meaning}`"


def upstream_tests(_upstream: str, patch: PatchFile, _changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """`Upstream-Tests:` names the tests of upstream's that `variants test` runs for this patch."""
    values, form = patch.trailers("Upstream-Tests"), "Upstream-Tests: tests/<path> ... | none <why>"
    if not values:
        yield "warning", "no `Upstream-Tests:` in the last paragraph", f"add `{form}`"
    for value in values:
        if not re.fullmatch(UPSTREAM_TESTS, value):
            yield "error", f"`Upstream-Tests: {value}` is not of its form", f"write `{form}`"


def gain(_upstream: str, patch: PatchFile, _changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """A gain is called measured only with the record that measured it."""
    for value in patch.trailers("Expected-gain"):
        claims = re.sub(r"(until|not|never|un)[ -]?measured", "", value)
        if re.search(r"\bmeasured\b", claims) and not re.search(r"\brecord [0-9A-Za-z._-]+", value):
            yield "error", "`Expected-gain:` says measured and names no record", "add `(record <id>)`, or say estimated or modelled"


def subject(_upstream: str, patch: PatchFile, _changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """`[Area] Imperative`, short, no full stop: it becomes the title of a pull request."""
    if not re.match(r"(\[[^\]]+\])+ \S", patch.subject):
        yield "error", f"subject {patch.subject!r} names no area", "begin it with one, such as `[ROCm] `"
    if len(patch.subject) > LONG_SUBJECT:
        yield "warning", f"subject of {len(patch.subject)} characters", f"keep it within {LONG_SUBJECT}"
    if patch.subject.endswith("."):
        yield "error", "the subject ends in a full stop", "delete it"


def body(_upstream: str, patch: PatchFile, _changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """A paragraph beside the trailers that says why; and nothing that mail tools cut at."""
    paragraphs = patch.message.decode("utf-8", "replace").strip().split("\n\n")
    if len(paragraphs) < 3:
        yield "error", "no paragraph says why", "write the problem, the change and the risk between subject and trailers"
    for line in paragraphs[1:]:
        if re.search(r"^-+ ?(>8|8<) ?-+", line, re.MULTILINE):
            yield "error", "a scissors line: mail tools cut the message there", "delete or indent it"


def white_space(_upstream: str, _patch: PatchFile, changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """No trailing blanks and no conflict markers in added lines."""
    for change in changes:
        added = [line for hunk in change.hunks for line in hunk.new if line not in hunk.old]
        path = change.new_path.decode("utf-8", "replace")
        if any(re.search(rb"[ \t]+\n?$", line.replace(b"\r\n", b"\n")) for line in added):
            yield "error", f"{path}: an added line ends in white space", "strip it"
        if any(line.startswith((b"<<<<<<< ", b">>>>>>> ")) for line in added):
            yield "error", f"{path}: a conflict marker is added", "resolve it"


def native_scope(upstream: str, patch: PatchFile, changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """`Scope:` says what develop has to do; a native path under another scope would be left unbuilt."""
    paths = [change.new_path.decode("utf-8", "replace") for change in changes]
    touched = scope.native(upstream, paths)
    declared = patch.trailers("Scope")[:1]
    if touched and declared != ["native"]:
        yield "error", f"`Scope: {''.join(declared)}`, but {touched[0]} is compiled", "write `Scope: native`"
    if declared == ["native"] and not touched:
        yield "warning", "`Scope: native`, but no compiled path is touched", "write `Scope: python` or `Scope: config`"


def thin(_upstream: str, _patch: PatchFile, changes: list[FileChange]) -> Iterator[tuple[str, str, str]]:
    """A patch is rebased many times: keep hunks in existing files small."""
    added = sum(len(hunk.new) for change in changes for hunk in change.hunks)
    if added > MANY_LINES:
        yield "warning", f"{added} lines in its hunks", "split it, or move new behaviour into a new file"
    for change in changes:
        for hunk in change.hunks:
            grown = len(hunk.new) - len(hunk.old)
            if change.kind == "modify" and grown > THICK_HUNK:
                path = change.new_path.decode("utf-8", "replace")
                yield "warning", f"{path}: a hunk adds {grown} lines to an existing file", "put them into a new file and hook them in"
    context = sum(len(set(hunk.old) & set(hunk.new)) for change in changes for hunk in change.hunks)
    changed = sum(len(set(hunk.old) ^ set(hunk.new)) for change in changes for hunk in change.hunks)
    if changed and context / changed > MUCH_CONTEXT:
        yield "warning", f"{context} lines of context for {changed} changed ones", "gather the change in fewer places"


RULES: dict[str, Rule] = {
    "trailers": trailers, "upstream-tests": upstream_tests, "gain": gain, "subject": subject, "body": body, "white-space": white_space,
    "scope": native_scope, "thin": thin,
}  # fmt: skip


def lint(layout: Layout, upstream: str, say: Say = quiet) -> list[Finding]:
    """Every finding on an upstream's series, in its order; of a patch that cannot be read, that one."""
    series = Series.load(upstream, layout.series_dir(upstream))
    found = [Finding(upstream, path.stem, "series", "error", f"{path.name} is in no line of the series", "add it, or delete the file")
             for path in sorted(series.directory.glob("*" + SUFFIX)) if path.stem not in series.files]  # fmt: skip
    unread = []
    patches: dict[str, tuple[PatchFile, list[FileChange]]] = {}
    for name in [each for each in series.names if each not in series.picks]:  # what upstream wrote is not ours to word
        try:
            patch = mail.read(name, series.files[name])
            patches[name] = patch, diff.parse(name, patch.diff)
        except BadInput as error:
            unread.append(Finding(upstream, name, "format", "error", error.message, error.remedy))
    added = {change.new_path.decode("utf-8", "replace") for _, changes in patches.values() for change in changes}
    for name, (patch, changes) in patches.items():
        found += [Finding(upstream, name, rule, *each) for rule, check in RULES.items() for each in check(upstream, patch, changes)]
        found += [Finding(upstream, name, "verified-by", *each) for each in verified(layout, upstream, patch, added)]
    if unread:
        why = f"{unread[0].patch}.patch cannot be read, so what depends on what was not tried"
        skipped = [Finding(upstream, name, "depends-on", "skipped", why, unread[0].remedy) for name in series.names]
        return [*found, *unread, *skipped]
    return found + dependencies(layout, series, say)


def verified(layout: Layout, upstream: str, patch: PatchFile, added: set[str]) -> Iterator[tuple[str, str, str]]:
    """The test files that `Verified-by:` names are there: in the upstream with the series, or in this project. added: paths of the series."""
    checkout = layout.checkout(upstream)
    for value in patch.trailers("Verified-by"):
        try:
            words = shlex.split(value)
        except ValueError:
            yield "error", f"`Verified-by: {value}` has a quote that is not closed", "write it as it is typed into a shell"
            continue
        for word in words:
            file = word.partition("::")[0]
            if not re.fullmatch(r"[\w./-]+\.(py|sh)", file) or file.startswith("-"):
                continue
            places = [os.path.normpath(layout.root / file), os.path.normpath(checkout / file)]
            if any(Path(place).exists() for place in places) or os.path.normpath(file) in added:
                continue
            if checkout.exists() or file.startswith("../"):
                yield "error", f"`Verified-by:` names {file}, which is neither in {upstream} nor in this project", "name a file that is there, or add it"
            else:
                yield ("skipped", f"{upstream} is not checked out, so whether it has {file} was not looked up",
                       f"python3 build.py apply {upstream}")  # fmt: skip


def dependencies(layout: Layout, series: Series, say: Say) -> list[Finding]:
    """What each patch declares to need against what it turns out to need, by applying it without."""
    upstream = series.upstream
    if not series.files:
        return []
    pin, primary = pin_of(layout, upstream), checkouts.primary(layout, upstream)
    if not primary.exists():
        why = f"{upstream} is not checked out, so what depends on what was not tried"
        return [Finding(upstream, name, "depends-on", "skipped", why, f"python3 build.py apply {upstream}") for name in series.names]
    series = picks.obtained(series, pin, primary.git, say=say)
    say(f"{upstream}: applying each patch without the others")
    trial = Trial.of(layout, pin, series)
    return [Finding(upstream, name, "depends-on", *each) for name in series.names for each in tried(trial, name)]


@dataclass
class Trial:
    """What every patch is tried on: nothing of it changes from one to the next.

    bare: the unpatched tree.  broken: why the series as a whole cannot be made (its blobs are what merges start from).
    """

    series: Series
    lock: Lock
    bare: Tree
    changes: dict[str, list[FileChange]]
    merge: Merge
    broken: TuneforkError | None

    @classmethod
    def of(cls, layout: Layout, pin: Pin, series: Series) -> Trial:
        primary = checkouts.primary(layout, series.upstream)
        state = checkouts.state_of_primary(layout, series.upstream)
        lock = Lock.of(series) or Lock(state.base, ())
        broken: TuneforkError | None = None
        try:
            compose(Workspace(layout, pin, series, lock, primary, state), variant.choose("all", series))
        except (BadInput, LockMismatch, PatchConflict) as error:
            broken = error
        except KeyError:  # a patch that the lock does not know
            broken = LockMismatch("series.lock does not record it", f"python3 build.py patch lock {series.upstream}")
        bare = Tree.read(primary.git, state.base)
        changes = {name: diff.parse(name, patch.diff) for name, patch in series.patches.items()}
        bare.prefetch({blob for each in changes.values() for change in each if (blob := bare.entries.get(change.old_path, ABSENT)[1]) != ABSENT[1]})
        return cls(series, lock, bare, changes, remembered(merge_file(primary.git)), broken)

    def outcome(self, names: Sequence[str], *, exact: bool = False) -> list[tuple[Touch, ...]]:
        """What some patches do to the bare tree; Mismatch where one does not fit."""
        return outcome(self.bare, [self.series.patches[each] for each in names], self.changes, None if exact else self.merge)


def remembered(merge: Merge) -> Merge:
    """The same merge, done once for the same three contents."""
    known: dict[tuple[bytes, bytes, bytes], bytes | None] = {}

    def once(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        key = (base, ours, theirs)
        if key not in known:
            known[key] = merge(base, ours, theirs)
        return known[key]

    return once


def tried(trial: Trial, name: str) -> Iterator[tuple[str, str, str]]:
    """Apply one patch with what it declares, and again without each declared need."""
    series = trial.series
    relock = f"python3 build.py patch lock {series.upstream}"
    try:
        needs = series.depends_on(name)
        if late := [need for need in needs if series.names.index(need) > series.names.index(name)]:
            yield "error", f"depends on {late[0]}, which comes later", "swap their lines in the series file"
        chosen = variant.choose(f"only:{name}", series)
        if name not in trial.lock.names:
            raise KeyError(name)
        if trial.broken is not None and not chosen.exact:
            yield "error", trial.broken.message, trial.broken.remedy or relock
            return
        for each, touches in zip(chosen.names, trial.outcome(chosen.names, exact=chosen.exact), strict=True):
            if chosen.exact:
                trial.lock.check_touches(each, touches)
    except Mismatch as mismatch:
        error = mismatch if chosen.exact else undeclared(chosen, mismatch)
        yield "error", error.message, error.remedy or relock
        return
    except (BadInput, LockMismatch, PatchConflict) as error:
        yield "error", error.message, error.remedy or relock
        return
    except KeyError:  # a patch that the lock does not know
        yield "error", "series.lock does not record it", relock
        return
    for need in needs:
        try:
            trial.outcome([each for each in chosen.names if each != need])
        except Mismatch:
            continue
        yield ("warning", f"applies without {need}, which it declares to need",
               "keep the trailer if it needs what that patch does, and say so in the body")  # fmt: skip
