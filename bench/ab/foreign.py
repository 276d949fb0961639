"""Processes of others on the GPUs, asked for before a trial, when nothing of ours runs there."""

from __future__ import annotations

import json
from typing import Any

from tunefork.bench.serving.host import ask


def on_devices() -> str:
    """What computes on the GPUs now, "" where nothing does or no tool can tell. On a CPU the interval has to carry what others do."""
    found = nvidia(ask("nvidia-smi", "--query-compute-apps=pid,process_name", "--format=csv,noheader"))
    found += amd(ask("amd-smi", "process", "--json"))
    return "; ".join(found)


def nvidia(text: str) -> list[str]:
    """`pid, name` lines."""
    return [line.strip() for line in text.splitlines() if line.split(",")[0].strip().isdigit()]


def amd(text: str) -> list[str]:
    """`amd-smi process --json`: per GPU a list of processes, or a sentence that there is none."""
    try:
        data = json.loads(text or "[]")
    except ValueError:
        return []
    gpus = data.get("gpu_data", []) if isinstance(data, dict) else data
    listed = [one.get("process_info", one) for gpu in gpus if isinstance(gpu, dict) for one in entries(gpu.get("process_list"))]
    return [f"{one['pid']}, {one.get('name', '?')}" for one in listed if isinstance(one, dict) and str(one.get("pid", "")).isdigit()]


def entries(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; a sentence in its place is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
