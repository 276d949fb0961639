"""The proof at the end of `develop`: import the installed vLLM in a fresh interpreter and compare what it says of itself."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BuildError
from tunefork.base.process import run
from tunefork.base.typed import typed
from tunefork.base.upstream_facts.vllm import PLATFORM_PLUGINS, PLUGINS, TARGET_DEVICE, VERSION_FILE
from tunefork.develop.operator_schemas import CHANGED, declared

ANSWER = "tunefork: "
"""How the answer's line begins: what vLLM and its libraries print while they are imported, and at the end, need not end a line and may be JSON."""

IMPORT = """
import json
import vllm
print("\\ntunefork: " + json.dumps({"path": vllm.__file__, "version": vllm.__version__}))
"""
# torch.ops raises or says no when the library was not loaded; vLLM itself would go on and fail at the first request.
IMPORT_CPU = CHANGED + """
import json
import sys
import torch
import vllm
from vllm.platforms import current_platform
current_platform.import_kernels()
print("\\ntunefork: " + json.dumps({"path": vllm.__file__, "version": vllm.__version__, "device": current_platform.device_type,
                                 "operators": hasattr(torch.ops._C, "rms_norm"), "changed": changed(json.loads(sys.argv[1]))}))
"""


@dataclass(frozen=True)
class Expected:
    """What must be imported. checkout: the folder that ``vllm.__file__`` must be in.  device: "" is not asked for."""

    checkout: Path
    version: str
    device: str = ""


def verify(expected: Expected, *, log: Path) -> tuple[str, ...]:
    """Import vLLM for real; BuildError says what was expected and what came.

    Returns the CPU operators that take other arguments than this vLLM's source declares.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = IMPORT_CPU if expected.device == "cpu" else IMPORT
    schemas = json.dumps(declared(expected.checkout) if expected.device == "cpu" else [])
    printed = run([sys.executable, "-P", "-c", code, schemas], log=log, cwd=Path("/"), env=environment)
    answers = [line.removeprefix(ANSWER) for line in printed.splitlines() if line.startswith(ANSWER)]
    if not answers:
        last = next((line for line in reversed(printed.splitlines()) if line.strip()), "nothing")
        raise BuildError(
            f"importing vLLM ended Python without an answer; the last that it said: {last[:200]}",
            f"`{typed(sys.executable)} -P -X importtime -c 'import vllm'` names what it imported until then; change that, then python3 build.py develop",
        )
    found = json.loads(answers[-1])
    path = Path(found["path"])
    if expected.checkout not in path.parents:
        raise BuildError(
            f"vllm is imported from {path.parent}, not from {expected.checkout}",
            "`unset PYTHONPATH`, or uninstall the other vLLM (`python3 build.py doctor` lists what shadows); then python3 build.py develop",
        )
    if found["version"] != expected.version:
        raise BuildError(
            f"vllm.__version__ is {found['version']}, not {expected.version}, which was written to {expected.checkout}/vllm/{VERSION_FILE}",
            f"something in {expected.checkout} sets another: `git -C {typed(expected.checkout)} grep -n __version__ -- vllm/__init__.py vllm/version.py` "
            "shows the lines; without that change, python3 build.py develop",
        )
    if expected.device and found["device"] != expected.device:
        raise BuildError(f"vLLM chose the platform {found['device']}, not {expected.device}", other_platform(expected.checkout))
    if not found.get("operators", True):
        reason = re.search(r"^.*Failed to import from vllm\._C\w*: (.*)$", printed, re.MULTILINE)
        raise BuildError(
            f"vLLM's compiled operators were not loaded{f': {reason[1][:200]}' if reason else ''}",
            f"read {log}; `python3 build.py clean && python3 build.py develop` places them again",
        )
    return tuple(found.get("changed", ()))


def other_platform(checkout: Path) -> str:
    """What leaves a platform that vLLM should not choose: what is set of its variables, and which packages bring one."""
    variables = [name for name in (TARGET_DEVICE, PLUGINS) if name in os.environ]
    packages = sorted({found.dist.name for found in importlib.metadata.entry_points(group=PLATFORM_PLUGINS) if found.dist})
    ways = [f"`unset {' '.join(variables)}`"] if variables else []
    ways += [f"`{typed(sys.executable)} -m pip uninstall -y {' '.join(packages)}`, which brings a platform of its own"] if packages else []
    return f"{'; '.join(ways) or f'look at vllm/platforms in {checkout}'}; then python3 build.py develop"
