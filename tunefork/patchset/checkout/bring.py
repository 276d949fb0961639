"""Bring a checkout to a variant: its patches as commits, then one move. Nothing that only the checkout holds is lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunefork.base.errors import PatchConflict, WorkAtRisk
from tunefork.base.process import Say, quiet
from tunefork.base.typed import typed
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import state, switch, work
from tunefork.patchset.checkout.checkout import Checkout, applied_ref
from tunefork.patchset.checkout.state import AppliedPatch, State
from tunefork.patchset.checkout.workspace import Fingerprint, Workspace, fingerprint
from tunefork.patchset.git import Git
from tunefork.patchset.series import picks, variant
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Made, Mismatch, materialise, merge_file
from tunefork.patchset.series.variant import Variant


def bring(
    space: Workspace, chosen: Variant, patches: Sequence[AppliedPatch], checkout: Checkout, *, discard: bool, say: Say
) -> tuple[State, int]:
    """Move a checkout to a variant's commits. Returns the new state and how many files changed."""
    pinned, git = space.state, space.git
    commit = patches[-1].commit if patches else pinned.base
    branch = checkout.branch(chosen.slug)
    if not checkout.whole():
        guard_branch(git, checkout, branch, discard=discard, say=say)
        checkouts.create_beside(space.layout, checkout, pinned, commit, say)
    if discard:
        keep_tip(git, checkout, branch, say)
        if work.find(checkout) or switch.hidden(checkout.git) or switch.collisions(checkout, switch.difference(git, checkout.head()[1], commit)):
            switch.discard(checkout, commit, say)
    else:
        refuse_unexported(checkout, branch)
    changed = switch.move(checkout, commit, branch, say)
    after = State(chosen.spec, branch, pinned.source, pinned.base, pinned.base_tree, chosen.exact, tuple(patches))
    state.save(checkout.state_file, after)
    return after, changed


def compose(space: Workspace, chosen: Variant, say: Say = quiet) -> list[AppliedPatch]:
    """The variant's patches as commits: what any checkout already holds is reused, the rest is made and verified."""
    git = space.git
    wanted = space.fingerprints(chosen)
    kept = reusable(space, wanted, exact=chosen.exact)
    missing = [name for name, _, _ in wanted[len(kept) :]]
    series = picks.obtained(space.series, space.pin, git, missing, say=say)
    rest = [series.patches[name] for name in missing]
    start = kept[-1].commit if kept else space.state.base
    if chosen.exact:
        made = materialise(git, start, rest)
        for each in made:
            space.lock.check_touches(each.name, each.touches)
    else:
        if rest:  # the blobs that the merge starts from exist once the whole series does
            compose(replace(space, series=series), variant.choose("all", series), say)
        made = merged(git, start, rest, chosen)
    sums = {name: (sha256, locked) for name, sha256, locked in wanted}
    return [*kept, *(AppliedPatch(each.name, sums[each.name][0], each.commit, each.tree, sums[each.name][1]) for each in made)]


def merged(git: Git, start: str, rest: Sequence[PatchFile], chosen: Variant) -> list[Made]:
    """Patches taken out of their order, merged three-way; a conflict is a dependency that nobody declared."""
    try:
        return materialise(git, start, rest, merge_file(git))
    except Mismatch as mismatch:
        raise undeclared(chosen, mismatch) from None


def undeclared(chosen: Variant, mismatch: Mismatch) -> PatchConflict:
    """The error for a patch that does not go without the ones that a variant leaves out."""
    name = mismatch.patch.name
    return PatchConflict(f"{chosen.spec}: {mismatch.message}; {name} needs a patch that this variant leaves out",
                         f"declare it in {name}.patch (`Depends-On: <patch>`), or use upto:{name}")


def reusable(space: Workspace, wanted: Sequence[Fingerprint], *, exact: bool) -> list[AppliedPatch]:
    """The longest beginning of ``wanted`` that a checkout of this upstream already holds as commits."""
    best: list[AppliedPatch] = []
    for checkout in checkouts.all_checkouts(space.layout, space.upstream):
        there = checkout.state()
        if there is None or there.base != space.state.base or there.exact != exact:
            continue
        same = 0
        while same < min(len(there.patches), len(wanted)) and fingerprint(there.patches[same]) == wanted[same]:
            same += 1
        if not exact and same != len(wanted):  # a merged commit is what it is only in its own list
            same = 0
        if same > len(best) and space.git.answer("cat-file", "-e", f"{there.patches[same - 1].commit}^{{commit}}") is not None:
            best = list(there.patches[:same])
    return best


def refuse_unexported(checkout: Checkout, branch: str) -> None:
    """Refuse to move a checkout away from commits that only its branch holds, or from a git operation in progress."""
    found = work.find(checkout, files=False)
    name = checkout.upstream
    if found.operation:
        raise WorkAtRisk(f"{checkout.path.name}: a {found.operation} is in progress",
                         f"finish or abort it in {checkout.path}, or add --discard, which keeps a backup ref")
    if found.unexported:
        raise work.refuse(checkout, "unexported commits", found.unexported,
                          f"python3 build.py patch export {name}; or add --discard, which keeps a backup ref")
    if found.elsewhere.startswith("detached"):
        raise WorkAtRisk(f"{checkout.path.name} is {found.elsewhere}, a commit that no branch need hold",
                         f"`git branch my-work` in {checkout.path} keeps it, then `git checkout` a branch; or add --discard")
    if branch != checkout.head()[0] and (tip := unexported_tip(checkout.git, branch)):  # HEAD's own branch was looked at above
        raise work.refuse(checkout, f"unexported commits on {branch}", [tip[:12]],
                          f"`git checkout {branch}` in {checkout.path}, then python3 build.py patch export {name}; or add --discard")


def unexported_tip(git: Git, branch: str) -> str | None:
    """The tip of a variant's branch where it holds commits that no patch file does; None otherwise."""
    tip = git.answer("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    return tip if tip and tip != git.answer("rev-parse", "--verify", "--quiet", applied_ref(branch)) else None


def keep_tip(git: Git, checkout: Checkout, branch: str, say: Say) -> None:
    """Before --discard moves a branch that HEAD is not on: its unexported commits under a backup ref."""
    tip = unexported_tip(git, branch)
    if tip and not (checkout.exists() and tip == checkout.head()[1]):
        ref = work.keep(git, tip)
        say(f"{checkout.path.name}: discarded the commits of {branch}; to have them back: {ref} (python3 build.py backup {work.name_of(ref)} --restore)")


def guard_branch(git: Git, checkout: Checkout, branch: str, *, discard: bool, say: Say) -> None:
    """A worktree that was deleted by hand is made anew, but not over the commits of its branch."""
    if discard:
        keep_tip(git, checkout, branch, say)
    elif tip := unexported_tip(git, branch):
        raise WorkAtRisk(f"{checkout.path.name} is gone, and its branch {branch} holds unexported commits ({tip[:12]})",
                         f"`git -C {typed(git.directory)} worktree add -f {typed(checkout.path)} {branch}` brings it back; "
                         "or add --discard, which keeps a backup ref")
