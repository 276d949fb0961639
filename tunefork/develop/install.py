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
from tunefork.develop import operator_schemas, targets
from tunefork.develop.cpu import plan as cpu
from tunefork.develop.gfx950 import rocm
from tunefork.develop.installed import Mark, mark_path, read_mark, write_mark
from tunefork.develop.machine import Machine, probe
from tunefork.develop.step import Step, run_steps
from tunefork.develop.targets import Choice
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
        work = rocm.Work(layout, tree, choice, machine, prebuild) if choice.target == targets.GFX950 else None
        rebuilt = finish(layout, tree, choice, machine, work, say)
    version = read_version(tree.path, "vllm") or ""
    return Developed(choice.target, rebuilt, version, tree.path, tree.series_hash, tree.variant, time.monotonic() - begin)


def finish(
    layout: Layout, tree: AppliedTree, choice: Choice, machine: Machine, work: rocm.Work | None, say: Say
) -> tuple[str, ...]:
    """Run the missing steps, write the tree's version, verify, mark. Returns what was rebuilt."""
    log = log_path(layout, choice.target)
    wanted = wanted_mark(layout, tree, choice, machine, work)
    known = read_mark()
    if work is None:
        say_cpu_notes(tree, say)
        steps, rebuilt = cpu_steps(layout, tree, machine, log, say)
    else:
        steps, rebuilt = work.steps(say)
    if not steps and known == wanted and read_version(tree.path, "vllm") == wanted.version:
        return ()
    mark_path().unlink(missing_ok=True)
    run_steps(steps, log=log, say=say)
    write_version(tree.path, "vllm", wanted.version)
    if work is not None:
        work.built(wanted.compiled, rebuilt)
    say("importing the installed vLLM")
    # Where only the tree's version is another, the operators are those that were proved already.
    only_version = not steps and known is not None and known.compiled == wanted.compiled and known.target == wanted.target
    changed = verify(Expected(tree.path, wanted.version, "" if only_version or work else choice.target), log=log)
    if work is None and not only_version:
        wheel = pins.cpu_operators(layout)
        operator_schemas.record(tree.path, f"{wheel.name} {wheel.version}", changed)
        if line := operator_schemas.note(f"{wheel.name} {wheel.version}", pins.load(layout)["vllm"].version, changed):
            say(line)
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
    log = log_path(layout, choice.target)
    tree = applied_tree(layout, "vllm")
    if choice.target == targets.GFX950:
        steps = rocm.Work(layout, tree, choice, machine, prebuild).planned(everything=everything)
    else:
        steps, _ = cpu_steps(layout, tree or applied_vllm(layout), machine, log, quiet)
    return Plan(choice.target, choice.why, choice.architectures, log, tuple(steps))


def applied_vllm(layout: Layout) -> AppliedTree:
    """The primary checkout of vLLM; MissingTool where nothing is applied."""
    tree = applied_tree(layout, "vllm")
    if tree is None or not (tree.path / "vllm").is_dir():
        raise MissingTool(f"vLLM is not applied in {layout.checkout('vllm')}", "python3 build.py apply")
    return tree


def cpu_steps(layout: Layout, tree: AppliedTree, machine: Machine, log: Path, say: Say) -> tuple[list[Step], tuple[str, ...]]:
    """The steps of the cpu target, and what they rebuild."""
    version = distribution_version(pins.load(layout)["vllm"].version, targets.CPU)
    lacking = cpu.missing(layout, tree.path, version, machine)
    rebuilt = ("vllm",) if lacking.editable or lacking.operators else ()
    return cpu.steps(layout, tree.path, version, machine, lacking, log, say), rebuilt


def say_cpu_notes(tree: AppliedTree, say: Say) -> None:
    """What the user must know of the cpu target: AITER is not in it, and changes of compiled sources have no effect."""
    say("AITER is left out: target cpu does not use it")
    if note := cpu.native_note(tree.path, tree.base):
        say(note)


def wanted_mark(layout: Layout, tree: AppliedTree, choice: Choice, machine: Machine, work: rocm.Work | None) -> Mark:
    """The mark that a finished `develop` of these trees leaves."""
    upstream = pins.load(layout)["vllm"].version
    return Mark(
        target=choice.target,
        path=str(tree.path),
        distribution=distribution_version(upstream, choice.target),
        version=tree_version(upstream, revision(tree), choice.target),
        lock=cpu.lock_digest() if work is None else "",
        compiled={"vllm": cpu.operator_digest(layout, machine)} if work is None else work.digests(),
    )


def log_path(layout: Layout, target: str) -> Path:
    return layout.logs / f"develop-{target}.log"
