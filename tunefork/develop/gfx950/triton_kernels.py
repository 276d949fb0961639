"""``python -m tunefork.develop.gfx950.triton_kernels VLLM FOLDER``: the one folder of ROCm's Triton that vLLM's CMake would clone all of it for."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tunefork.base.errors import SourceError, TuneforkError
from tunefork.patchset.git import Git

CMAKE = Path("cmake") / "external_projects" / "triton_kernels.cmake"
SUBFOLDER = "python/triton_kernels"


def pinned(vllm: Path) -> tuple[str, str]:
    """(git URL, commit) that vLLM's CMake names for ROCm; SourceError where it names none."""
    text = (vllm / CMAKE).read_text(encoding="utf-8")
    found = re.search(r'STREQUAL "rocm"\)\s+set\(TRITON_GIT "([^"]+)"\)[^(]*set\(TRITON_KERNELS_TAG "([^"]+)"\)', text)
    if found is None:
        raise SourceError(f"{vllm / CMAKE} names no Triton for ROCm in the form this reads",
                          "set TRITON_KERNELS_SRC_DIR to the folder triton_kernels of ROCm's Triton")
    return found[1], found[2]


def fetch(url: str, commit: str, folder: Path) -> bool:
    """Bring that folder of that commit; False where it is there already."""
    git = Git(folder, user_config=True)
    if (folder / SUBFOLDER / "triton_kernels").is_dir() and git.answer("rev-parse", "--verify", "--quiet", "HEAD") == commit:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    git("init", "--quiet")
    git("sparse-checkout", "set", SUBFOLDER)
    done = git.run("fetch", "--quiet", "--depth=1", "--filter=blob:none", url, commit)
    if done.code:
        raise SourceError(f"triton_kernels {commit[:12]}: {url}: {done.err.strip().splitlines()[-1]}",
                          "set url.<mirror>.insteadOf in your git configuration, or TRITON_KERNELS_SRC_DIR to the folder")
    git("-c", f"remote.origin.url={url}", "-c", "remote.origin.promisor=true", "checkout", "--quiet", "--detach", "FETCH_HEAD")
    return True


def main(argv: list[str]) -> int:
    vllm, folder = map(Path, argv)
    try:
        url, commit = pinned(vllm)
        print(f"triton_kernels {commit[:12]}: {'fetched' if fetch(url, commit, folder) else 'is there'}")
    except TuneforkError as error:
        print(error.told)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
