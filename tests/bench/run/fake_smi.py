"""amd-smi, nvidia-smi and rocm-smi as they print, of one GPU whose memory in use stands in a file.

    fake_smi.py TOOL FILE [the tool's own arguments...]

FILE holds MiB in use and, after a blank, the process that holds them ("pid name"), if any.
"""

import json
import sys
from pathlib import Path

TOTAL = 294_896
tool, path, *words = sys.argv[1:]
used, _, holder = Path(path).read_text().strip().partition(" ")
pid, _, name = holder.partition(" ")


def value(number: float, unit: str) -> dict[str, object]:
    return {"value": number, "unit": unit}


def amd() -> object:
    if words[0] == "static":
        return [{"gpu": 0, "asic": {"market_name": "AMD Instinct MI355X", "vendor_id": "0x1002", "target_graphics_version": "gfx950"}}]
    if words[0] == "process":
        info = {"name": name, "pid": int(pid), "memory_usage": {"vram_mem": value(int(used) << 20, "B")}} if holder else "No running processes detected"
        return [{"gpu": 0, "process_list": [{"process_info": info}]}]
    if "--mem-usage" in words:
        return [{"gpu": 0, "mem_usage": {"total_vram": value(TOTAL, "MB"), "used_vram": value(int(used), "MB"),
                                         "free_vram": value(TOTAL - int(used), "MB")}}]
    return [{"gpu": 0, "usage": {"gfx_activity": value(97, "%")}, "power": {"socket_power": value(1012, "W")},
             "clock": {"gfx_0": {"clk": value(2395, "MHz")}, "mem_0": {"clk": value(2000, "MHz")}},
             "temperature": {"edge": "N/A", "hotspot": value(71, "C"), "mem": value(52, "C")}}]


def nvidia() -> str:
    if words[0].startswith("--query-compute-apps"):
        return f"GPU-aa, {pid}, {name}" if holder else ""
    asked = words[0].removeprefix("--query-gpu=")
    return {"name": "NVIDIA H200", "index,uuid": "0, GPU-aa", "index,memory.used,memory.total": f"0, {used}, {TOTAL}"}.get(
        asked, "0, 687.12, 1980, 2619, 66, 71, 100")


def rocm() -> object:
    if "--showmeminfo" in words:
        return {"card0": {"VRAM Total Memory (B)": str(TOTAL << 20), "VRAM Total Used Memory (B)": str(int(used) << 20)}}
    return {"card0": {"Temperature (Sensor junction) (C)": "71.0", "sclk clock speed:": "(2395Mhz)", "Current Socket Graphics Package Power (W)": "1012.0"}}


said = {"amd-smi": amd, "nvidia-smi": nvidia, "rocm-smi": rocm}[tool]()
print(said if isinstance(said, str) else json.dumps(said, indent=4))
