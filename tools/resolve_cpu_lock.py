"""``python -m tools.resolve_cpu_lock``: resolve the cpu target's requirements anew, into requirements/cpu.txt.

Needs `uv` (a development tool, not a dependency), vLLM applied, and a package index. One file serves Linux on x86-64 and every Python
of the target: the resolutions must agree, otherwise cpu.in wants a tighter bound. torch's CUDA libraries are left out: an index with
CPU builds of torch has no use for them, and `develop` brings them where the index has none.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib

from tunefork.base.errors import MissingTool, TuneforkError
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.develop.cpu.plan import REQUIREMENTS
from tunefork.develop.targets import CPU_PYTHONS

PLATFORM = "x86_64-manylinux_2_28"
CUDA_LIBRARIES = ("nvidia-", "cuda-")
HEAD = "# Exact versions of everything in the cpu environment. Made by `python -m tools.resolve_cpu_lock`; edit cpu.in instead.\n"


def resolve(layout: Layout, python: str) -> list[str]:
    """The exact requirements for one Python, sorted, without torch's CUDA libraries."""
    uv = shutil.which("uv")
    common = layout.checkout("vllm") / "requirements" / "common.txt"
    if uv is None:
        raise MissingTool("resolving needs uv", f"{sys.executable} -m pip install uv")
    if not common.is_file():
        raise MissingTool(f"{common} is not there", "python3 build.py apply vllm")
    ours = tomllib.loads((layout.root / "pyproject.toml").read_text())["project"]["dependencies"]
    inputs = [str(REQUIREMENTS.with_suffix(".in")), str(common), "-"]
    options = ["--python-version", python, "--python-platform", PLATFORM, "--no-header", "--no-annotate", "--quiet", "--upgrade"]
    command = [uv, "pip", "compile", *inputs, *options]
    done = subprocess.run(command, input="\n".join(ours), capture_output=True, text=True, check=False)
    if done.returncode:
        raise TuneforkError(f"uv found no resolution for Python {python}:\n{done.stderr}", f"loosen {inputs[0]}")
    lines = (line.partition("+")[0] for line in done.stdout.splitlines())  # a local version is one index's build
    return [line for line in lines if not line.startswith(CUDA_LIBRARIES)]


def main() -> int:
    layout = Layout.here()
    (major, first), (_, last) = CPU_PYTHONS
    found = {f"{major}.{minor}": resolve(layout, f"{major}.{minor}") for minor in range(first, last + 1)}
    reference = found[f"{major}.{first}"]
    for python, lines in found.items():
        if lines != reference:
            differing = ", ".join(sorted(set(lines) ^ set(reference)))
            raise TuneforkError(f"Python {python} resolves differently: {differing}", "bound these in cpu.in so that all agree")
    write_atomically(REQUIREMENTS, (HEAD + "".join(f"{line}\n" for line in reference)).encode())
    print(f"{len(reference)} requirements in {REQUIREMENTS}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TuneforkError as error:
        sys.exit(error.told)
