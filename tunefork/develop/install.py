"""`develop`: choose the target, find what is missing, run those steps, prove the result, and leave a mark."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import MissingTool
from tunefork.base.layout import Layout
from tunefork.base.mutex import locked
from tunefork.base.process import Say, quiet
from tunefork.develop import targets
from tunefork.develop.cpu.target import Cpu
from tunefork.develop.gfx950.target import Gfx950
from tunefork.develop.installed import Mark, mark_path, read_mark, write_mark
from tunefork.develop.machine import Machine, probe
from tunefork.develop.step import Step, run_steps
from tunefork.develop.targets import Choice, Target
from tunefork.develop.verify import Expected, verify
from tunefork.develop.version import distribution_version, read_version, revision, tree_version, write_version
from tunefork.patchset.checkout.applied import AppliedTree, applied_tree
from tunefork.patchset.sources import pins


@dataclass(frozen=True)
class Developed:
    """What `develop` reports. rebuilt: upstreams whose compiled files were made or placed anew.  seconds: wall time."""

    target: str
    rebuilt: tuple[str, ...]
    version: str
    path: Path
    series_hash: str
    variant: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a `develop` would do now: the target, why it was chosen, and the steps in order."""

    target: str
    why: str
    architectures: tuple[str, ...]
    log: Path
    steps: tuple[Step, ...]


def develop(
    layout: Layout,
    requested: str = targets.AUTO,
    *,
    architectures: tuple[str, ...] = (),
    prebuild: int | None = None,
    say: Say = quiet,
    machine: Machine | None = None,
) -> Developed:
    """Install the applied trees into this interpreter's environment; with everything in place, nothing is run.

    Raises MissingTool where the machine cannot build the target or nothing is applied, BuildError where a step fails.
    """
    begin = time.monotonic()
    machine = machine or probe()
    choice = targets.choose(requested, machine, architectures)
    if requested == targets.AUTO:
        say(f"target {choice.target}: {choice.why}")
    with locked(Path(sys.prefix) / "tunefork-develop.lock", say, "another develop runs in this environment; waiting for it"):
        tree = applied_vllm(layout)
        rebuilt = finish(layout, tree, choice, target_of(layout, tree, choice, machine, prebuild), say)
    version = read_version(tree.path, "vllm") or ""
    return Developed(choice.target, rebuilt, version, tree.path, tree.series_hash, tree.variant, time.monotonic() - begin)


def target_of(layout: Layout, tree: AppliedTree | None, choice: Choice, machine: Machine, prebuild: int | None) -> Target:
    """The chosen target. tree: vLLM's; target cpu has nothing to plan without one (MissingTool)."""
    if choice.target == targets.GFX950:
        return Gfx950(layout, tree, choice, machine, prebuild)
    return Cpu(layout, tree or applied_vllm(layout), machine, log_path(layout, choice.target))


def finish(layout: Layout, tree: AppliedTree, choice: Choice, target: Target, say: Say) -> tuple[str, ...]:
    """Run the missing steps, write the tree's version, verify, mark. Returns what was rebuilt."""
    log = log_path(layout, choice.target)
    wanted = wanted_mark(layout, tree, choice, target)
    known = read_mark()
    for line in target.notes():
        say(line)
    steps, rebuilt = target.steps(say)
    if not steps and known == wanted and read_version(tree.path, "vllm") == wanted.version:
        return ()
    mark_path().unlink(missing_ok=True)
    run_steps(steps, log=log, say=say)
    write_version(tree.path, "vllm", wanted.version)
    target.built(wanted.compiled, rebuilt)
    say("importing the installed vLLM")
    # Where only the tree's version is another, the operators are those that were proved already.
    only_version = not steps and known is not None and known.compiled == wanted.compiled and known.target == wanted.target
    changed = verify(Expected(tree.path, wanted.version, "" if only_version else target.device), log=log)
    if not only_version:
        target.proved(changed, say)
    write_mark(wanted)
    return rebuilt


def plan(
    layout: Layout,
    requested: str = targets.AUTO,
    *,
    architectures: tuple[str, ...] = (),
    prebuild: int | None = None,
    everything: bool = False,
    machine: Machine | None = None,
) -> Plan:
    """What `develop` would run, without running it. everything: as on a machine where nothing is installed yet."""
    machine = machine or probe()
    choice = targets.choose(requested, machine, architectures, dry_run=True)
    steps = target_of(layout, applied_tree(layout, "vllm"), choice, machine, prebuild).planned(everything=everything)
    return Plan(choice.target, choice.why, choice.architectures, log_path(layout, choice.target), tuple(steps))


def applied_vllm(layout: Layout) -> AppliedTree:
    """The primary checkout of vLLM; MissingTool where nothing is applied."""
    tree = applied_tree(layout, "vllm")
    if tree is None or not (tree.path / "vllm").is_dir():
        raise MissingTool(f"vLLM is not applied in {layout.checkout('vllm')}", "python3 build.py apply")
    return tree


def wanted_mark(layout: Layout, tree: AppliedTree, choice: Choice, target: Target) -> Mark:
    """The mark that a finished `develop` of these trees leaves."""
    upstream = pins.load(layout)["vllm"].version
    return Mark(
        target=choice.target,
        path=str(tree.path),
        distribution=distribution_version(upstream, choice.target),
        version=tree_version(upstream, revision(tree), choice.target),
        lock=target.lock_digest(),
        compiled=target.digests(),
    )


def log_path(layout: Layout, target: str) -> Path:
    return layout.logs / f"develop-{target}.log"
