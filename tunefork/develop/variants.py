"""The environment that runs one variant of the installed vLLM: the primary checkout, or a checkout beside it put in front."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BuildError, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.develop import compiled, store, targets
from tunefork.develop.cpu import operators
from tunefork.develop.installed import Mark, read_mark
from tunefork.develop.machine import cpu_flags
from tunefork.develop.native import inputs
from tunefork.develop.version import revision, tree_version, write_version
from tunefork.patchset.checkout import work
from tunefork.patchset.checkout.applied import AppliedTree, applied_tree
from tunefork.patchset.checkout.apply import apply_variant
from tunefork.patchset.series import variant as variants
from tunefork.patchset.series.scope import NATIVE_PATHS
from tunefork.patchset.series.series import Series
from tunefork.patchset.sources import pins

DEVELOP = "python3 build.py apply && python3 build.py develop"


@dataclass(frozen=True)
class VariantEnvironment:
    """How to run one variant.

    python: the interpreter.  env: what to add to the environment.  tree: the applied checkout.
    version: what ``vllm.__version__`` says there.  target: "cpu" or "gfx950".
    """

    python: Path
    env: dict[str, str]
    tree: AppliedTree
    version: str
    target: str


def environment(layout: Layout, variant: str | None, say: Say) -> VariantEnvironment:
    """The environment of a variant; None is what the primary checkout holds. Needs a finished `develop`, and reinstalls nothing.

    A variant that the primary checkout does not hold is applied beside it, gets the compiled files of the installed build and its
    own version, and is found first through PYTHONPATH. MissingTool where vLLM is not installed here.
    """
    mark = read_mark()
    primary = applied_tree(layout, "vllm")
    if primary is None:
        raise MissingTool("vLLM is not applied here", DEVELOP)
    if mark is None or Path(mark.path) != primary.path:
        raise MissingTool("vLLM is not installed here", DEVELOP)
    if compiled.digest_in(primary.path) != mark.compiled["vllm"]:
        raise MissingTool("vLLM's compiled files are missing or were changed", "python3 build.py develop")
    wanted = None if variant is None else canonical(layout, variant)
    if wanted in (None, primary.variant):
        tree, env = primary, {}
    else:
        assert wanted is not None
        tree = apply_variant(layout, "vllm", wanted, beside=True, say=say)
        env = {"PYTHONPATH": str(tree.path)}  # alone, as for the primary checkout: the shell's own is dropped
    check_native(primary, tree, mark)
    if tree.path != primary.path:
        furnish(layout, tree, mark, say)
    if edited := work.uncommitted(tree.path, tree.upstream):
        say(f"work/{tree.path.name} holds uncommitted changes, which {tree.variant} has not and which run all the same: {work.few(edited)}")
    version = tree_version(pins.load(layout)["vllm"].version, revision(tree), mark.target)
    write_version(tree.path, "vllm", version)
    return VariantEnvironment(Path(sys.executable), env, tree, version, mark.target)


def canonical(layout: Layout, spec: str) -> str:
    """A variant's name as the checkouts record it."""
    return variants.choose(spec, Series.load("vllm", layout.series_dir("vllm"))).spec


def check_native(primary: AppliedTree, tree: AppliedTree, mark: Mark) -> None:
    """On gfx950, refuse a variant whose native inputs are not those that were built. (For cpu every variant has the wheel's.)"""
    if mark.target == targets.CPU or tree.path == primary.path:
        return
    if inputs(tree.path, NATIVE_PATHS["vllm"]) != inputs(primary.path, NATIVE_PATHS["vllm"]):
        raise BuildError(
            f"variant {tree.variant} has other compiled sources than what is installed ({primary.variant})",
            f"python3 build.py apply --variant {tree.variant} && python3 build.py develop",
        )


def furnish(layout: Layout, tree: AppliedTree, mark: Mark, say: Say) -> None:
    """Give a checkout the compiled files of the installed build, unless it has them."""
    digest = mark.compiled["vllm"]
    if compiled.digest_in(tree.path) == digest:
        return
    say(f"placing the compiled files in {tree.path}")
    if mark.target == targets.CPU:
        operators.place(layout, tree.path, cpu_flags(Path("/proc/cpuinfo")), say)
        return
    kept = store.find(layout, digest)
    if kept is None:
        remedy = "python3 build.py clean && python3 build.py develop"
        raise BuildError("the installed build's compiled files are no longer in the store", remedy)
    compiled.place(kept, tree.path)
