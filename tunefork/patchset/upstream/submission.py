"""A patch on its way upstream: what it declares to need and itself, replayed on the upstream's own newer tree, as a branch ready to push.

Nothing is pushed. The branch lies in the checkouts' repository, with a worktree beside them; the commits carry no trailer that only Tunefork
reads. What the pull request says of purpose and tests comes from the patch; the measurements are the caller's to add (tunefork/cli/upstream.py).
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from tunefork.base import redact
from tunefork.base.errors import BadInput, PatchConflict, SourceError, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.near import near, question
from tunefork.base.process import Say, quiet
from tunefork.base.program import run_program
from tunefork.base.transaction import Damaged, Transaction
from tunefork.base.typed import typed
from tunefork.base.visible import visible
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import park, waits, work
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.git import EMAIL, EPOCH, Git
from tunefork.patchset.rebase import newbase, rebase
from tunefork.patchset.rebase.attempt import Attempt, PatchOutcome, attempt_on, step
from tunefork.patchset.rebase.resolve import fill, resolved_tree
from tunefork.patchset.series import picks, variant
from tunefork.patchset.series.commit import commit_as
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Tree
from tunefork.patchset.series.replay import CONFLICT, EMPTY, UPSTREAM
from tunefork.patchset.series.series import Series, patch_name
from tunefork.patchset.sources import pins
from tunefork.patchset.sources.pins import Pin

OWN_TRAILERS = ("Upstream-Status", "Scope", "Verified-by", "Upstream-Tests", "Expected-gain", "Depends-On")
OWN_WORDS = re.compile(r"build\.py|--variant|without:|tunefork(?!@)", re.IGNORECASE)
SHOWN_LINES = 3
DEADLINE_S = 1800.0
"""How long one check may run."""


@dataclass(frozen=True)
class Check:
    """One ``Verified-by`` command, run against the branch. said: the last lines of what it printed."""

    command: str
    passed: bool
    said: str


@dataclass(frozen=True)
class Submission:
    """A branch for one patch.

    onto, base: what was asked for and the commit it is.  branch, path: where the commits are ("" and None where upstream has them already).
    patches: what became of each, in order.  checks: what ran on the branch.  remarks: what to look at before pushing.
    """

    upstream: str
    patch: str
    onto: str
    base: str
    branch: str
    path: Path | None
    commit: str
    patches: tuple[PatchOutcome, ...]
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]


def submit(layout: Layout, name: str, onto: str, *, verify: float = DEADLINE_S, say: Say = quiet) -> Submission:
    """Make the branch ``upstream/<patch>`` on a newer upstream and run the patch's checks there.

    onto: as in ``rebase --to``.  verify: seconds that each check may run, 0 for none; whose commands they are is the caller's to ask
    (approval.py). Raises PatchConflict where a patch does not go onto it: it then waits in the branch's worktree, with markers.
    WorkAtRisk where the branch holds other work.
    """
    upstream = owner(layout, name)
    if patch_name(name) in Series.load(upstream, layout.series_dir(upstream)).picks:
        raise BadInput(f"{name} picks a commit of {upstream}'s own: there is nothing to hand on", "name a patch of ours: python3 build.py upstream status")
    this = waiting(layout, upstream, patch_name(name))
    if this.under_way and (saved := this.read(known, f"python3 build.py upstream {name} --abort, then begin again")) and saved["left"] is None:
        abort(layout, name, say=say)  # killed while it was being put there: nobody was told of it
    if this.under_way:
        raise PatchConflict(f"{name} waits to be resolved in {place_of(layout, upstream, patch_name(name))}",
                            f"python3 build.py upstream {name} --continue; or --abort")  # fmt: skip
    with called_onto():
        return onward(layout, upstream, patch_name(name), onto, None, verify=verify, say=say)


@contextmanager
def called_onto() -> Iterator[None]:
    """An error about a base speaks of the option that was typed here: --onto, where a rebase has --to."""
    try:
        yield
    except (BadInput, SourceError) as error:
        said = (error.message, error.remedy)
        message, remedy = (re.sub(r"(rebase \S+ )?(?<!\S)--to(?= )", lambda each: each[0] if each[1] else "--onto", text) for text in said)
        raise type(error)(message, remedy) from None


def go_on(layout: Layout, name: str, *, verify: float = DEADLINE_S, say: Say = quiet) -> Submission:
    """Take the resolved worktree as the conflicting patch, and go on. Raises PatchConflict while markers are left."""
    upstream = owner(layout, name)
    saved = waiting(layout, upstream, patch_name(name)).read(known, f"`python3 build.py upstream {name} --abort` keeps what you resolved under a backup ref")
    if saved is None:
        raise BadInput(f"no conflict of {name} waits", f"python3 build.py upstream {name} --onto main")
    if saved["left"] is None:
        raise BadInput(f"{name} was being put into its worktree when that was stopped", f"python3 build.py upstream {name} --onto {saved['onto']}")
    if saved["series"] != rebase.digest(upto(Series.load(upstream, layout.series_dir(upstream)), patch_name(name))):
        raise BadInput(f"the series of {upstream} changed since {name} came to wait",
                       f"python3 build.py upstream {name} --abort, which keeps what you resolved under a backup ref; then begin again")
    return onward(layout, upstream, patch_name(name), saved["onto"], saved, verify=verify, say=say)


def abort(layout: Layout, name: str, *, say: Say = quiet) -> str:
    """Forget a conflict that waits: its worktree and its branch. Work of the user's stays under a backup ref, which is returned ("" for none)."""
    upstream = owner(layout, name)
    this = waiting(layout, upstream, patch_name(name))
    try:
        saved = this.read(known, "")
    except Damaged:  # how the worktree was left is not known: all that it holds is kept
        saved = {"tip": "", "left": "", "rows": []}
    if saved is None:
        raise BadInput(f"no conflict of {name} waits, nothing to abort", "python3 build.py upstream status")
    git, here, ref = checkouts.primary(layout, upstream).git, worktree(layout, upstream, patch_name(name)), ""
    with checkouts.locked(layout, upstream, say):
        checkouts.mend_links(checkouts.primary(layout, upstream), here.path)
        if not waits.usable(here):
            waits.set_aside(here, say)
        waits.say_ignored(here, say)
        by_hand = any(resolved_by_hand(rebase.revived_row(row)) for row in saved["rows"])
        if here.exists() and (by_hand or (here.head()[1], waits.snapshot(here)) != (saved["tip"], saved["left"])):
            ref = work.backup(here)
        elif by_hand:
            ref = work.keep(git, saved["tip"])
        if ref:
            say(f"{upstream}: what the worktree held: {ref} (python3 build.py backup {work.name_of(ref)})")
        park.remove_worktree(git, here.path)
        for each in refs(patch_name(name)):
            git("update-ref", "-d", each)
        this.end()
    say(f"{upstream}: {branch_of(patch_name(name))} is forgotten; the series is as it was")
    return ref


def onward(layout: Layout, upstream: str, name: str, onto: str, saved: dict[str, Any] | None, *, verify: float, say: Say) -> Submission:
    """Take the patches that are left onto the base, then check the branch. saved: what was noted of a conflict that is resolved now."""
    pin, series = rebase.inputs(layout, upstream, say)
    if not checkouts.primary(layout, upstream).exists():
        raise BadInput(f"{upstream} is not checked out", f"python3 build.py apply {upstream}")
    wanted = variant.choose(f"only:{name}", series).names
    (layout.cache / "rebase").mkdir(parents=True, exist_ok=True)
    with checkouts.locked(layout, upstream, say), tempfile.TemporaryDirectory(prefix=f"{upstream}-", dir=layout.cache / "rebase") as directory:
        git = newbase.scratch(Path(directory) / "repo.git")
        if saved is None:
            attempt = rebase.prepare(git, layout, pin, upto(series, name), onto, say)
        else:
            attempt = revived(git, layout, pin, upto(series, name), saved, say)
            resolved(layout, name, attempt, saved)
        for each in wanted[len(attempt.rows) :]:
            row = step(attempt, attempt.series.names.index(each), say)
            if row.outcome == CONFLICT:
                leave(layout, name, attempt, onto)
        if attempt.tip == attempt.base.commit:
            return Submission(upstream, name, onto, attempt.base.commit, "", None, "", tuple(attempt.rows), (), ())
        tip = clean(git, attempt)
        place = put(layout, upstream, name, git, tip)
        waiting(layout, upstream, name).end()
    patch = series.patches[name]
    checks = tuple(checked(layout, upstream, command, place, say, verify) for command in patch.trailers("Verified-by")) if verify else ()
    return Submission(upstream, name, onto, attempt.base.commit, branch_of(name), place, tip, tuple(attempt.rows), checks,
                      tuple(remarks(patch, attempt, verify=bool(verify))))  # fmt: skip


def leave(layout: Layout, name: str, attempt: Attempt, onto: str) -> NoReturn:
    """Put the branch so far and the conflicting change into the worktree, note it, and say so."""
    upstream, row = attempt.series.upstream, attempt.rows[-1]
    tip = clean(attempt.git, attempt)
    path = put(layout, upstream, name, attempt.git, tip)
    saved = {"onto": onto, "series": rebase.digest(attempt.series), "base": asdict(attempt.base), "rows": [asdict(each) for each in attempt.rows],
             "tip": tip, "left": None}  # fmt: skip
    waiting(layout, upstream, name).step(saved)  # from here on what lies there is known not to be the user's
    fill(path, attempt, attempt.series.patches[row.name])
    waiting(layout, upstream, name).step({**saved, "left": waits.snapshot(worktree(layout, upstream, name))})
    raise PatchConflict(f"{row.name} does not go onto {attempt.base.label}: {row.why}; it waits in {path}",
                        f"resolve the markers there, then python3 build.py upstream {name} --continue; --abort forgets it")  # fmt: skip


def revived(git: Git, layout: Layout, pin: Pin, series: Series, saved: dict[str, Any], say: Say) -> Attempt:
    """The attempt on the very base that it began with, which a branch such as main may have left since; the checkouts' repository holds it."""
    old = newbase.old_base(git, layout, pin, say)
    newbase.borrow(git, [checkouts.primary(layout, pin.name).repository])
    return attempt_on(git, picks.obtained(series, pin, git, say=say), rebase.revived(saved["base"]), old, say)


def resolved(layout: Layout, name: str, attempt: Attempt, saved: dict[str, Any]) -> None:
    """Take up where ``leave`` left: the rows, and the worktree's tree as the patch that conflicted. Noted, so that a kill after this loses nothing."""
    *rows, last = map(rebase.revived_row, saved["rows"])
    if last.outcome == CONFLICT and last.commit is None:
        last = taken(layout, name, attempt, saved, last)
        saved = {**saved, "rows": [asdict(each) for each in (*rows, last)], "tip": last.commit or saved["tip"]}
        waiting(layout, attempt.series.upstream, name).step(saved)
    attempt.rows = [*rows, last]
    attempt.tip = saved["tip"]
    attempt.tree = Tree.read(attempt.git, attempt.tip)


def resolved_by_hand(row: PatchOutcome) -> bool:
    return row.outcome == CONFLICT and row.commit is not None


def taken(layout: Layout, name: str, attempt: Attempt, saved: dict[str, Any], last: PatchOutcome) -> PatchOutcome:
    """The worktree's tree as a commit of the branch, and the row that says so."""
    path = place_of(layout, attempt.series.upstream, name)
    checkouts.mend_links(checkouts.primary(layout, attempt.series.upstream), path)
    if not waits.usable(worktree(layout, attempt.series.upstream, name)):
        raise PatchConflict(f"{path} is gone, or the repository that it belongs to, and the conflict waited there",
                            f"python3 build.py upstream {name} --abort, then begin again")
    git = Git(path)
    waits.refuse_untracked(worktree(layout, attempt.series.upstream, name), saved["left"])
    tree = resolved_tree(path)
    if tree == git.text("rev-parse", f"{saved['tip']}^{{tree}}"):
        return replace(last, outcome=UPSTREAM, why=f"you left nothing of it; {last.why}")
    patch = attempt.series.patches[last.name]
    commit = commit_as(git, tree, saved["tip"], patch, patch.message)
    git("update-ref", refs(name)[0], commit)
    git("update-ref", refs(name)[1], commit)
    git("reset", "--quiet", "--hard", commit)
    return replace(last, why=f"resolved by you; {last.why}", commit=commit)


def waiting(layout: Layout, upstream: str, name: str) -> Transaction:
    return Transaction(checkouts.primary(layout, upstream).notes / f"upstream-{name}.waits")  # not .json: those are checkouts' states


def known(data: dict[str, Any]) -> dict[str, Any]:
    """What ``leave`` noted, if all of it is there and can be read."""
    rebase.revived(data["base"])
    *_, _last = map(rebase.revived_row, data["rows"])
    return {key: data[key] for key in ("onto", "series", "base", "rows", "tip", "left")}


def place_of(layout: Layout, upstream: str, name: str) -> Path:
    return layout.checkout(upstream, f"upstream-{name}")


def worktree(layout: Layout, upstream: str, name: str) -> Checkout:
    return Checkout(upstream, place_of(layout, upstream, name), f"upstream-{name}")


def refs(name: str) -> tuple[str, str]:
    """The branch, and where it was when we left it."""
    return f"refs/heads/{branch_of(name)}", f"refs/tunefork/upstream/{name}"


def owner(layout: Layout, name: str) -> str:
    """The upstream whose series has a patch."""
    known = {each: Series.load(each, layout.series_dir(each)) for each in pins.load(layout)}
    for each, series in known.items():
        if patch_name(name) in series.files:
            return each
    listed = "; ".join(f"{each}: {', '.join(series.names) or 'none'}" for each, series in known.items())
    meant = near(patch_name(name), [one for series in known.values() for one in series.names])
    raise BadInput(f"no series has a patch {name!r} ({listed})", question(meant) + "use one of these names")


def upto(series: Series, name: str) -> Series:
    """The series' beginning up to a patch: what comes later has no say in where it goes."""
    names = series.names[: series.names.index(name) + 1]
    return replace(series, files={each: series.files[each] for each in names})


def clean(git: Git, attempt: Attempt) -> str:
    """The taken commits again, with messages that hold nothing but what upstream wants to read; the rows name them then. Returns the last."""
    parent = attempt.base.commit
    for at, row in enumerate(attempt.rows):
        if row.commit is None:
            continue
        patch = attempt.series.patches[row.name]
        parent = commit_as(git, f"{row.commit}^{{tree}}", parent, patch, message(patch), committed=EPOCH)
        attempt.rows[at] = replace(row, commit=parent)
    return parent


def message(patch: PatchFile) -> bytes:
    """A patch's message without the trailers that only Tunefork reads."""
    own = tuple(f"{key.lower()}:".encode() for key in OWN_TRAILERS)
    paragraphs = patch.message.rstrip().split(b"\n\n")
    kept = [line for line in paragraphs[-1].split(b"\n") if not line.lower().startswith(own)] if len(paragraphs) > 1 else [paragraphs[-1]]
    return b"\n\n".join([*paragraphs[:-1], *([b"\n".join(kept)] if kept else [])]) + b"\n"


def branch_of(name: str) -> str:
    return f"upstream/{name}"


def put(layout: Layout, upstream: str, name: str, scratch: Git, tip: str) -> Path:
    """The branch in the checkouts' repository, and its worktree. A branch that somebody went on with is not overwritten."""
    first = checkouts.primary(layout, upstream)
    (branch, mark), path = refs(name), place_of(layout, upstream, name)
    old, ours = (first.git.answer("rev-parse", "--verify", "--quiet", ref) for ref in (branch, mark))
    modified, untracked = work.changed_paths(worktree(layout, upstream, name)) if (path / ".git").exists() else ((), ())
    if modified or untracked:
        raise WorkAtRisk(f"{path.name} holds {'uncommitted changes' if modified else 'untracked files'}: {', '.join((modified or untracked)[:work.SHOWN])}",
                         f"`git -C {typed(path)} stash -u` keeps them; then again")
    if old and old != ours:
        raise WorkAtRisk(f"{path.name} holds commits of yours on {branch_of(name)}",
                         f"push or move them (`git -C {typed(path)} branch -m my-branch`), "
                         f"then `git -C {typed(first.path)} worktree remove {typed(path)}`, then again")  # fmt: skip
    scratch("update-ref", "refs/heads/submission", tip)
    park.remove_worktree(first.git, path)
    both = [f"+refs/heads/submission:{ref}" for ref in (branch, mark)]  # never one without the other: what differs is the user's
    first.git("fetch", "--quiet", "--no-tags", "--update-shallow", "--force", "--atomic", str(scratch.directory), *both)
    first.git("worktree", "add", "--quiet", "--force", str(path), branch_of(name))
    return path


def checked(layout: Layout, upstream: str, command: str, tree: Path, say: Say, deadline_s: float = DEADLINE_S) -> Check:
    """Run one command of the project against the branch's tree, under a guardian: nothing of it outlives us or its deadline."""
    say(f"{upstream}: {visible(command)}")
    words = re.sub(r"^python3? ", lambda _: f"{typed(sys.executable)} -P ", command)
    environment = {**os.environ, f"TUNEFORK_TREE_{upstream.upper()}": str(tree)}
    with tempfile.TemporaryDirectory(prefix="tunefork-check-") as folder:
        files = [Path(folder) / name for name in ("out", "err")]
        apart = ["bash", "-c", 'exec 2>"$0"; exec bash -c "$1"', str(files[1]), words]
        done = run_program(apart, env=environment, cwd=layout.root, log=files[0], deadline_s=deadline_s)
        out, err = ([line for line in read_text(file).splitlines() if line.strip()] for file in files)
    if done.exit_code is None:
        err.append(f"it {done.how}")
    return Check(command, done.exit_code == 0 and not skipped(out), told("\n".join([*out, *err][-SHOWN_LINES:]), environment))


def told(said: str, environment: Mapping[str, str]) -> str:
    """What a check said, for the terminal and for a text that is posted: no control, no secret."""
    return visible(redact.text(redact.without(said, redact.values((), environment))))


def read_text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def skipped(out: Sequence[str]) -> bool:
    """Whether pytest says, in the last line of its stdout, that nothing ran: a skip is no pass."""
    return bool(out) and " skipped" in out[-1] and " passed" not in out[-1]


def remarks(patch: PatchFile, attempt: Attempt, *, verify: bool) -> list[str]:
    """What a person should look at before pushing."""
    said = []
    if EMAIL in patch.message.decode("utf-8", "replace") or EMAIL in patch.author.decode("utf-8", "replace"):
        said.append(f"author and sign-off are {EMAIL}: `git commit --amend --reset-author --signoff` in the worktree makes them yours")
    lines = [line for line in message(patch).decode("utf-8", "replace").splitlines() if OWN_WORDS.search(line) and EMAIL not in line]
    said += [f"the message speaks of Tunefork: {line.strip()}" for line in lines]
    said += [f"{row.name} is not in the branch: {row.outcome} ({row.why})" for row in attempt.rows if row.outcome in (UPSTREAM, EMPTY)]
    if not verify:
        said.append("no check was run on the branch")
    return said


@dataclass(frozen=True)
class Standing:
    """Where a patch of ours stands upstream.

    declared: its ``Upstream-Status``.  found: "merged", "partly merged", "open", "stale" (it does not go onto the newer tree) or "" (not looked).
    """

    upstream: str
    patch: str
    declared: str
    found: str
    why: str


def standing(layout: Layout, upstream: str, onto: str = "", *, say: Say = quiet) -> list[Standing]:
    """Every patch's declared status, and against a newer tree (as in ``rebase --to``) what is true of it."""
    series = Series.load(upstream, layout.series_dir(upstream))
    declared = {name: "pick" if name in series.picks else next(iter(series.patches[name].trailers("Upstream-Status")), "") for name in series.names}
    if not onto:
        return [Standing(upstream, name, declared[name], "", "") for name in series.names]
    words = {UPSTREAM: "merged", "partly upstream": "partly merged", CONFLICT: "stale"}
    with called_onto():
        rows = rebase.check(layout, upstream, onto, say=say).patches
    return [Standing(upstream, row.name, declared[row.name], words.get(row.outcome, "open"), row.why) for row in rows]
