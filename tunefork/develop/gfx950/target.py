"""The gfx950 target on this machine: what is installed and built, what is therefore needed, and what a build leaves."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tunefork.base.errors import BuildError, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.upstream_facts.aiter import DISTRIBUTION, JIT_DIR
from tunefork.develop import compiled, store
from tunefork.develop.gfx950 import plan as gfx950
from tunefork.develop.gfx950.plan import Build, Needs
from tunefork.develop.installed import Distribution, distributions, import_paths
from tunefork.develop.machine import OPT_ROCM, Machine
from tunefork.develop.native import native_digest
from tunefork.develop.step import Step
from tunefork.develop.targets import GFX950, Choice
from tunefork.develop.version import distribution_version, revision, write_version
from tunefork.patchset.checkout.applied import AppliedTree, applied_tree
from tunefork.patchset.sources import pins


class Gfx950:
    """One `develop` of the gfx950 target: the trees, the machine, and what the two say is to be done."""

    def __init__(
        self, layout: Layout, vllm: AppliedTree | None, choice: Choice, machine: Machine, prebuild: int | None = None
    ) -> None:
        self.layout = layout
        self.vllm = vllm
        self.aiter = applied_tree(layout, "aiter")
        self.architectures = choice.architectures
        self.machine = machine
        self.prebuild = gfx950.PREBUILD if prebuild is None else prebuild
        self.versions = {name: pin.version for name, pin in pins.load(layout).items()}

    device = ""  # a build is proved on machines without the GPU, too

    def planned(self, *, everything: bool) -> list[Step]:
        """The steps for --dry-run; a machine without the trees or a ROCm torch is shown the whole plan."""
        needs = self.needs() if self.vllm and self.aiter and not everything else gfx950.EVERYTHING
        return gfx950.plan(self.build(), needs)

    def steps(self, say: Say) -> tuple[list[Step], tuple[str, ...]]:
        """The steps of a real run, and the upstreams whose compiled files they make."""
        needs = self.needs()
        if needs.rebuild_vllm and not needs.install_vllm and self.restore(say):
            needs = self.needs()
        rebuilt = [name for name, new in (("aiter", needs.rebuild_aiter), ("vllm", needs.rebuild_vllm)) if new]
        return gfx950.plan(self.build(), needs) if needs.anything else [], tuple(rebuilt)

    def notes(self) -> list[str]:
        return []

    def lock_digest(self) -> str:
        return ""

    def needs(self) -> Needs:
        """Compare the environment and the checkouts with what the target wants."""
        vllm, aiter = self.trees()
        present = distributions()
        origins = import_paths("vllm", "aiter", "amdsmi")
        here = {
            "vllm": self.editable(present, "vllm", vllm.path) and origins["vllm"] == vllm.path / "vllm" / "__init__.py",
            "aiter": self.editable(present, DISTRIBUTION, aiter.path) and origins["aiter"] == aiter.path / "aiter" / "__init__.py",
        }
        flavours = (*(() if here["vllm"] else gfx950.VLLM_FLAVOURS), *(() if here["aiter"] else gfx950.AITER_FLAVOURS))
        digests = self.digests()
        new = {tree.upstream: compiled.digest_in(tree.path) != digests[tree.upstream] for tree in (vllm, aiter)}
        return Needs(
            uninstall=tuple(name for name in flavours if name in present),
            install_aiter=not here["aiter"],
            rebuild_aiter=new["aiter"] or not here["aiter"],
            install_vllm=not here["vllm"],
            rebuild_vllm=new["vllm"] or not here["vllm"],
            amdsmi=origins["amdsmi"] is None,
        )

    def editable(self, present: Mapping[str, Distribution], name: str, checkout: Path) -> bool:
        found = present.get(name)
        upstream = "vllm" if name == "vllm" else "aiter"
        return found is not None and found.editable == checkout and found.version == self.distribution(upstream)

    def distribution(self, upstream: str) -> str:
        """The constant version of an upstream's editable install."""
        return distribution_version(self.versions[upstream], GFX950)

    def digests(self) -> dict[str, str]:
        """The native digest of each upstream, as its work tree is now."""
        torch = self.machine.torch
        facts = {
            "torch": torch.version if torch else None,
            "rocm": self.machine.rocm,
            "architectures": ";".join(self.architectures),
            "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        }
        return {tree.upstream: native_digest(tree.path, tree.upstream, facts) for tree in self.trees()}

    def trees(self) -> tuple[AppliedTree, AppliedTree]:
        """vLLM's and AITER's; MissingTool where one is not applied."""
        for upstream, tree in (("vllm", self.vllm), ("aiter", self.aiter)):
            if tree is None:
                where = self.layout.checkout(upstream)
                raise MissingTool(f"{upstream} is not applied in {where}, and target gfx950 needs it", f"python3 build.py apply {upstream}")
        assert self.vllm is not None and self.aiter is not None
        return self.vllm, self.aiter

    def build(self) -> Build:
        """What the steps are made from, also where nothing is applied yet (for --dry-run)."""
        vllm = self.vllm.path if self.vllm else self.layout.checkout("vllm")
        aiter = self.aiter.path if self.aiter else self.layout.checkout("aiter")
        return Build(
            python=sys.executable,
            vllm=vllm,
            aiter=aiter,
            folder=self.layout.work / "develop",
            jit_dir=jit_dir(aiter),
            vllm_version=self.distribution("vllm"),
            aiter_version=self.distribution("aiter"),
            architectures=self.architectures,
            jobs=gfx950.jobs(self.machine),
            prebuild=self.prebuild,
            ccache=shutil.which("ccache") is not None,
            build_requirements=gfx950.build_requirements(vllm, aiter),
            constraints=gfx950.constraints(distributions()),
            rocm_home=self.machine.rocm_home or OPT_ROCM,
            triton_kernels=Path(chosen) if (chosen := os.environ.get("TRITON_KERNELS_SRC_DIR")) else None,
        )

    def restore(self, say: Say) -> bool:
        """Place vLLM's compiled files from the store, if an earlier build of the same native inputs is there."""
        vllm, _ = self.trees()
        kept = store.find(self.layout, self.digests()["vllm"])
        if kept is None:
            return False
        say(f"vLLM's compiled files of these native inputs are in the store ({kept.digest[:12]}); placing them")
        for name in compiled.files_of(vllm.path):
            if name not in kept.files:
                (vllm.path / name).unlink(missing_ok=True)
        try:
            compiled.place(kept, vllm.path)
        except store.DamagedArtefact as error:
            say(f"{error.message}; building instead")
            return False
        return True

    def built(self, digests: Mapping[str, str], rebuilt: tuple[str, ...]) -> None:
        """After the steps: keep vLLM's compiled files, record what they are of, give AITER its version."""
        vllm, aiter = self.trees()
        write_version(aiter.path, "aiter", f"{self.versions['aiter']}+{revision(aiter)}")
        if "vllm" in rebuilt:
            compiled.keep(self.layout, vllm.path, "vllm", digests["vllm"])
        if "aiter" in rebuilt:  # AITER makes its objects when they are first used: only what they are of is recorded
            compiled.record(aiter.path, digests["aiter"], ())
        origin = import_paths("aiter")["aiter"]
        if origin != aiter.path / "aiter" / "__init__.py":
            raise BuildError(
                f"aiter is imported from {origin}, not from {aiter.path}",
                "`unset PYTHONPATH`, or uninstall the other AITER (`python3 build.py doctor` lists what shadows); then python3 build.py develop",
            )

    def proved(self, changed: tuple[str, ...], say: Say) -> None:
        """Nothing to tell: its operators are built from the source that declares them."""


def jit_dir(aiter: Path) -> Path:
    """Where AITER keeps its JIT objects, as its own ``get_user_jit_dir`` decides."""
    if chosen := os.environ.get(JIT_DIR):
        return Path(chosen)
    inside = aiter / "aiter" / "jit"
    return inside if os.access(inside, os.W_OK) or not inside.exists() else Path.home() / ".aiter" / "jit"
