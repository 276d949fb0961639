"""A small project to develop: real git checkouts of a few files, and a stand-in for the interpreter that pip runs in.

The stand-in records what it is asked to run and does to its own folders what pip and the builds would do to an environment. Anything
that is not pip is run by the real interpreter, with the "installed" checkouts on its path. Used as a module by the tests, and by
driver processes that are killed half-way.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import git.cmd  # before a workshop hides the packages of this environment

from tunefork.base.layout import Layout
from tunefork.develop import install, variants
from tunefork.develop.cpu import operators
from tunefork.develop.cpu import plan as cpu
from tunefork.develop.gfx950 import target as gfx950_target
from tunefork.develop.machine import Machine, TorchBuild
from tunefork.patchset.checkout.applied import AppliedTree
from tunefork.patchset.sources import pins

REAL = sys.executable
PROJECT = Path(__file__).resolve().parents[2]
VERSIONS = {name: pin.version for name, pin in pins.load(Layout(PROJECT, PROJECT)).items()}  # what the workshop's pins.toml says, too
VLLM_VERSION = VERSIONS["vllm"]
ROCM_TORCH = TorchBuild("2.13.0+rocm7.2", "7.2.0", None)
CPU_MACHINE = Machine("x86_64", frozenset({"avx2"}), 4, 32 << 30, False, (), None, None)
GPU_MACHINE = Machine("x86_64", frozenset({"avx2"}), 64, 512 << 30, True, ("gfx950",) * 8, "7.2.0", ROCM_TORCH)

STAND_IN = '''#!{real}
import hashlib, json, os, re, shutil, subprocess, sys, zipfile
from pathlib import Path
here = Path(__file__).parent
site = here / "site"
args = sys.argv[1:]
KEPT = re.compile("VLLM_|TRITON_KERNELS|GPU_ARCHS|PREBUILD|MAX_JOBS|AITER_|SETUPTOOLS|PYTORCH_|CCACHE_|CARGO")

def paths():
    return [str(json.loads(f.read_text())["checkout"]) for f in sorted(site.glob("*.editable"))]

def drop(name):
    for info in site.glob(name.replace("-", "_") + "-*.dist-info"):
        shutil.rmtree(info)
    (site / (name.replace("-", "_") + ".editable")).unlink(missing_ok=True)

def put(name, version, checkout=None):
    drop(name)
    info = site / (name.replace("-", "_") + "-" + version + ".dist-info")
    info.mkdir()
    if checkout:
        url = {{"dir_info": {{"editable": True}}, "url": checkout.as_uri()}}
        (info / "direct_url.json").write_text(json.dumps(url))
        (site / (name.replace("-", "_") + ".editable")).write_text(json.dumps({{"checkout": str(checkout)}}))

def build(checkout):
    if checkout.name == "aiter":
        put("amd-aiter", os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"], checkout)
        return
    version = os.environ["VLLM_VERSION_OVERRIDE"]
    (checkout / "vllm" / "_version.py").write_text("__version__ = version = '%s'\\n" % version)
    if wheel := os.environ.get("VLLM_PRECOMPILED_WHEEL_LOCATION"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extract("vllm/_C.abi3.so", checkout)
    else:
        source = b"".join(f.read_bytes() for f in sorted((checkout / "csrc").glob("*")))
        (checkout / "vllm" / "_rocm_C.abi3.so").write_bytes(hashlib.sha256(source).digest())
    put("vllm", version, checkout)

RECORDED = ["tunefork.develop.gfx950.submodules", "tunefork.develop.gfx950.triton_kernels", "pip"]
if args[0] == "setup.py" or (args[0] == "-m" and args[1] in RECORDED):
    env = {{k: v for k, v in os.environ.items() if KEPT.match(k)}}
    with (here / "calls.jsonl").open("a") as sink:
        sink.write(json.dumps({{"argv": args, "cwd": os.getcwd(), "env": env}}) + "\\n")
    refused = here / "refuse"
    if refused.is_file() and refused.read_text() in " ".join(args):
        print("compiling kernel.cu\\nfatal error: no such header")
        sys.exit(1)
    if args[2:3] == ["uninstall"]:
        for name in args[4:]:
            drop(name)
    elif "-e" in args:
        build(Path(args[args.index("-e") + 1]))
    elif "-r" in args:
        for line in Path(args[args.index("-r") + 1]).read_text().splitlines():
            name, sep, version = line.partition("#")[0].strip().partition("==")
            if sep:
                put(name, version)
    sys.exit(0)
path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *paths(), str(here / "fakes")])
os.execve("{real}", ["{real}", *args], {{**os.environ, "PYTHONPATH": path}})
'''

VLLM_FILES = {
    ".gitignore": "/vllm/_version.py\n*.so\nbuild/\n__pycache__/\n",
    "vllm/__init__.py": "from ._version import __version__\n",
    "vllm/model.py": "SCALE = 1\n",
    "vllm/platforms.py": (
        "class current_platform:\n    device_type = 'cpu'\n"
        "    @staticmethod\n    def import_kernels():\n"
        "        import pathlib, torch\n"
        "        if (pathlib.Path(__file__).parent / '_C_AVX2.abi3.so').read_bytes() == b'avx2 operators':\n"
        "            torch.ops._C.rms_norm = 1\n"
    ),
    "vllm/envs.py": "environment_variables: dict = {\n    'VLLM_USE_V1': lambda: 1,\n    'VLLM_ROCM_USE_AITER_MHA': lambda: 1,\n}\n",
    "csrc/op.cu": "void op() {}\n",
    "setup.py": "",
    "requirements/rocm.txt": "grpcio==1.78.0\n",
    "requirements/build/rocm.txt": "--extra-index-url somewhere\ntorch==2.12.0+rocm7.14.0\ncmake>=3.26.1,<4\namdsmi==7.0.2\n",
}
AITER_FILES = {
    ".gitignore": "aiter/_version.py\n*.so\nbuild\n__pycache__\n",
    "aiter/__init__.py": "",
    "aiter/ops.py": "STAGES = 1\n",
    "aiter/jit/core.py": "",
    "csrc/moe.cu": "void moe() {}\n",
    "pyproject.toml": '[build-system]\nrequires = ["pybind11>=3.0.1", "flydsl==0.2.4", "triton"]\n',
    "setup.py": "",
}
WHEEL = {
    "vllm/_C.abi3.so": b"avx512 bf16 operators",
    "vllm/_C_AVX512.abi3.so": b"avx512 operators",
    "vllm/_C_AVX2.abi3.so": b"avx2 operators",
    "vllm/fs_io_C.abi3.so": b"files",
    "vllm/spinloop.abi3.so": b"spin",
}


class Workshop:
    """One such project below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder / "project", folder / "cache")
        self.python = folder / "python"
        self.site = folder / "site"
        self.prefix = folder / "env"
        self.vllm = self.layout.checkout("vllm")
        self.aiter = self.layout.checkout("aiter")
        self.bases: dict[str, str] = {}

    def make(self) -> Workshop:
        for path in (self.site, self.prefix, self.layout.root, self.folder / "fakes" / "torch"):
            path.mkdir(parents=True)
        self.python.write_text(STAND_IN.format(real=REAL))
        self.python.chmod(0o755)
        shutil.copy(PROJECT / "pins.toml", self.layout.pins)
        for upstream, files in (("vllm", VLLM_FILES), ("aiter", AITER_FILES)):
            self.commit_all(self.layout.checkout(upstream), files)
        (self.folder / "fakes" / "torch" / "__init__.py").write_text("class ops:\n    class _C:\n        pass\n")
        (self.folder / "fakes" / "torch" / "version.py").write_text("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n")
        (self.folder / "requirements.txt").write_text("alpha==1.0\nbeta==2.0  # why\ntorch==2.13.0\n")
        with zipfile.ZipFile(self.folder / "operators.whl", "w") as archive:
            for name, content in WHEEL.items():
                archive.writestr(name, content)
        return self

    def commit_all(self, checkout: Path, files: dict[str, str], message: str = "base") -> None:
        for name, content in files.items():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_text(content)
        if not (checkout / ".git").exists():
            git(checkout, "init", "-q")
        git(checkout, "add", "-A")
        git(checkout, "commit", "-q", "-m", message)

    def tree(self, upstream: str, variant: str = "all", path: Path | None = None) -> AppliedTree:
        """The applied tree: what is committed in the checkout."""
        checkout = path or self.layout.checkout(upstream)
        first = git(self.layout.checkout(upstream), "rev-list", "--max-parents=0", "HEAD")
        commit, tree = git(checkout, "rev-parse", "HEAD"), git(checkout, "rev-parse", "HEAD^{tree}")
        return AppliedTree(upstream, variant, checkout, "sdist", first, commit, tree, ())

    def activate(self, patch: Any) -> None:
        """Point the room's modules at this project. patch(object, name, value): monkeypatch.setattr, or plain setattr."""

        def applied(_layout: Layout, upstream: str, variant: str | None = None) -> AppliedTree | None:
            return self.tree(upstream) if self.layout.checkout(upstream).exists() and variant in (None, "all") else None

        patch(sys, "executable", str(self.python))
        patch(sys, "prefix", str(self.prefix))
        patch(sys, "path", [*(entry for entry in sys.path if "site-packages" not in entry), str(self.site)])
        patch(cpu, "PIP", (str(self.python), "-m", "pip"))
        patch(cpu, "REQUIREMENTS", self.folder / "requirements.txt")
        patch(operators, "wheel_path", lambda _layout, _say: self.folder / "operators.whl")
        for module in (install, gfx950_target, variants):
            patch(module, "applied_tree", applied)

    def calls(self) -> list[dict[str, Any]]:
        """What the stand-in was asked since the last call of this."""
        path = self.folder / "calls.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
        path.unlink(missing_ok=True)
        return found

    def machine(self, **changes: Any) -> Machine:
        return replace(CPU_MACHINE, **changes)


def git(directory: Path, *args: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    done = subprocess.run(
        ["git", *identity, *args], cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
