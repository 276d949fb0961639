"""The container in which the gfx950 target is built and served: the docker or podman command, as an argument vector.

HF_TOKEN is passed by name only, so that its value is in no command line, log or process list.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.layout import home

REPOSITORY = "vllm/vllm-openai-rocm"  # vLLM's own ROCm images, one for each release: the ROCm and torch that its Dockerfile.rocm_base names
GUIDE = "rocm/7.0:rocm7.0_ubuntu_22.04_vllm_0.10.1_instinct_20250927_rc1"  # what `--image guide` means: of vLLM 0.10.1, older than the pin builds on
ENGINES = ("docker", "podman")
# The GPUs and their driver; RCCL and the profiler need the rest (shared memory between ranks, ptrace, unfiltered system calls).
GPU_ACCESS = (
    "--ipc=host", "--shm-size=16g", "--network=host", "--privileged", "--cap-add=CAP_SYS_ADMIN", "--device=/dev/kfd",
    "--device=/dev/dri", "--device=/dev/mem", "--cap-add=SYS_PTRACE", "--security-opt", "seccomp=unconfined",
)  # fmt: skip
WORKSPACE = "/workspace"
HUGGING_FACE = "/root/.cache/huggingface"
TUNEFORK_CACHE = "/root/.cache/tunefork"


@dataclass(frozen=True)
class Container:
    """What is run in which image.

    mounts: (host folder, folder inside).  variables: names of environment variables that are passed on, never their values.
    command: what runs inside; an interactive shell where it is empty.
    """

    engine: str
    image: str
    mounts: tuple[tuple[Path, str], ...]
    variables: tuple[str, ...]
    command: tuple[str, ...] = ()

    @property
    def argv(self) -> list[str]:
        """The whole command."""
        mounts = [word for host, inside in self.mounts for word in ("-v", f"{host}:{inside}")]
        names = [word for name in self.variables for word in ("-e", name)]
        terminal = [] if self.command else ["-it"]
        command = self.command or ("bash",)
        entry = ["--entrypoint", ""] if self.image.startswith(f"{REPOSITORY}:") else []  # its own is `vllm serve`, whose arguments ours would be
        return [self.engine, "run", "--rm", *terminal, *entry, *GPU_ACCESS, *mounts, *names, "-w", WORKSPACE, self.image, *command]


def image_of(tag: str) -> str:
    """The image whose ROCm and torch a pinned vLLM was released with. tag: of the pin, as ``v0.33.0``."""
    return f"{REPOSITORY}:{tag}"


def engine(wanted: str | None = None) -> str | None:
    """The container engine to use: the wanted one, or the first of docker and podman that is installed; None where none is."""
    if wanted is not None and wanted not in ENGINES:
        raise BadInput(f"no such container engine: {wanted!r}", f"use {' or '.join(ENGINES)}")
    return next((name for name in ((wanted,) if wanted else ENGINES) if shutil.which(name)), None)


def required_engine(wanted: str | None = None) -> str:
    """Like engine(), but MissingTool where there is none."""
    found = engine(wanted)
    if found is None:
        raise MissingTool(
            f"{wanted or 'neither docker nor podman'} is {'not ' if wanted else ''}installed here",
            "install one of them, or run build.py directly on a machine with ROCm",
        )
    return found


def container(
    root: Path,
    cache: Path,
    *,
    image: str,
    engine: str = ENGINES[0],
    mounts: Sequence[str] = (),
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Container:
    """The container of a project.

    image: a name, or ``guide`` for GUIDE.  mounts: further ``HOST:INSIDE`` folders.  environment: of the caller (the process's if None).
    """
    environment = os.environ if environment is None else environment
    weights = Path(environment.get("HF_HOME") or Path(environment.get("HOME") or home()) / ".cache" / "huggingface")
    further = tuple(parsed(mount) for mount in mounts)
    taken = {inside for _, inside in further}
    usual = ((root, WORKSPACE), (weights, HUGGING_FACE), (cache, TUNEFORK_CACHE))
    chosen = (*((host, inside) for host, inside in usual if inside not in taken), *further)
    return Container(engine, GUIDE if image == "guide" else image, chosen, ("HF_TOKEN",), tuple(command))


def parsed(mount: str) -> tuple[Path, str]:
    """A ``HOST:INSIDE`` mount; the host's folder must be there, since the engine would make an empty one in its place."""
    host, colon, inside = mount.partition(":")
    if not host or not colon or not inside.startswith("/"):
        raise BadInput(f"a mount is HOST:INSIDE with an absolute INSIDE, not {mount!r}", "for example --mount /data/models:/models")
    path = Path(host).expanduser().resolve()
    if not path.is_dir():
        raise BadInput(f"the folder to mount does not exist: {path}", "make it, or name another")
    return path, inside
