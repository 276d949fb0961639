"""The quick form, as `serve` and `bench run` ask it before a server starts: headers and samples of a checkpoint on this disk."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.bench.checkpoint.check import CERTAIN, check

METHODS = ("mxfp4", "quark", "compressed-tensors")


def concerned(model: Path) -> bool:
    """Whether the folder says that it holds MXFP4 weights, and has files of them."""
    try:
        method = (json.loads((model / "config.json").read_bytes()).get("quantization_config") or {}).get("quant_method")
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return method in METHODS and any(model.glob("*.safetensors*"))


def refuse(model: Path, say: Callable[[str], None]) -> None:
    """Say what looks wrong with a checkpoint on this disk. Errors: BadInput for what is certain; nothing for other models and for none."""
    if not concerned(model) or importlib.util.find_spec("numpy") is None:
        return
    try:
        report = check(model, quick=True)
    except BadInput:
        return  # quark and compressed-tensors have other formats, too
    for fault in report.faults:
        if fault.kind not in CERTAIN:
            say(f"{fault.kind}: {fault.where}: {fault.message}")
    if certain := [fault for fault in report.faults if fault.kind in CERTAIN]:
        more = f" (and {len(certain) - 1} more)" if len(certain) > 1 else ""
        raise BadInput(f"{model}: {certain[0].kind}: {certain[0].where}: {certain[0].message}{more}", f"python3 build.py checkpoint check {model}")
