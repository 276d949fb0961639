"""Processes that compute on GPUs, asked for when nothing of ours runs there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunefork.base import jsons
from tunefork.bench.machine.host import ask


def on_devices(gpus: Sequence[str] = ()) -> str:
    """What computes on these GPUs (none named: on any) now, "" where nothing does or no tool can tell.

    On a CPU the interval has to carry what others do.
    """
    found = nvidia(ask("nvidia-smi", "--query-compute-apps=gpu_uuid,pid,process_name", "--format=csv,noheader"),
                   uuids(ask("nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")), gpus)
    found += amd(ask("amd-smi", "process", "--json"), gpus)
    return "; ".join(found)


def uuids(text: str) -> dict[str, str]:
    """GPU number by UUID, from `index, uuid` lines."""
    pairs = [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.count(",") == 1]
    return {uuid: index for index, uuid in pairs}


def nvidia(text: str, numbers: dict[str, str], gpus: Sequence[str] = ()) -> list[str]:
    """`uuid, pid, name` lines, as "pid, name"."""
    rows = [[word.strip() for word in line.split(",", 2)] for line in text.splitlines() if line.count(",") >= 2]
    return [f"{pid}, {name}" for uuid, pid, name in rows if pid.isdigit() and (not gpus or numbers.get(uuid, uuid) in gpus)]


def amd(text: str, gpus: Sequence[str] = ()) -> list[str]:
    """`amd-smi process --json`: per GPU a list of processes, or a sentence that there is none."""
    try:
        data = jsons.loads(text or "[]")
    except ValueError:
        return []
    listed = data.get("gpu_data", []) if isinstance(data, dict) else data
    own = [gpu for gpu in entries(listed) if (not gpus or str(gpu.get("gpu")) in gpus)]
    processes = [one.get("process_info", one) for gpu in own for one in entries(gpu.get("process_list"))]
    return list(dict.fromkeys(f"{one['pid']}, {one.get('name', '?')}" for one in processes
                              if isinstance(one, dict) and str(one.get("pid", "")).isdigit()))


def entries(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; a sentence in its place is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
