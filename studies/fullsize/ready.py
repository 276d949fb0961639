"""Whether `served.sh` can run in this environment, asked before hours are spent: prints amd or nvidia, or says what is missing and what to type.

    python -m studies.fullsize.ready
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib import metadata

INSTALL = "pip install -e '.[ab]'   (from the repository's root, in vLLM's own environment: its torch and Triton stay)"
MODULES = {"vllm": "an environment with vLLM", "torch": "an environment with vLLM", "triton": "a torch that brings Triton", "scipy": INSTALL,
           "httptools": INSTALL, "numpy": INSTALL}  # fmt: skip
PLUGIN = "tunefork"


def missing() -> list[str]:
    """A line for each thing that is not there: what, and what to type."""
    found = [f"no {name}: {remedy}" for name, remedy in MODULES.items() if importlib.util.find_spec(name) is None]
    if PLUGIN not in {one.name for one in metadata.entry_points(group="vllm.general_plugins")}:
        found.append(f"vLLM would not find the overrides, since no plugin {PLUGIN!r} is installed: {INSTALL}")
    return found


def versions() -> dict[str, str]:
    """Of what is measured, by module; a distribution's name may be another (ROCm's Triton), so the module is asked where the name is not known."""
    found = {}
    for name in ("vllm", "torch", "triton", "transformers"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = str(getattr(importlib.import_module(name), "__version__", "")) if importlib.util.find_spec(name) else ""
    return found


def main() -> int:
    """Exit code 2 where something is missing, as a line each."""
    if lines := missing():
        print("\n".join(lines), file=sys.stderr)
        return 2
    import torch

    if not torch.cuda.is_available():
        print("torch sees no GPU: on AMD a ROCm build of torch, and /dev/kfd in the container (--device /dev/kfd --device /dev/dri)", file=sys.stderr)
        return 2
    print("amd" if torch.version.hip else "nvidia")
    return 0


if __name__ == "__main__":
    sys.exit(main())
