"""What two runs of the gate differ in, for example under two releases of Triton.

    python3 build.py kernels gate --static --json > old.json        (in each environment)
    python -m tunefork.kernels.amdgcn.differ old.json new.json

Prints a Markdown table of the rows that differ, and how many do not. Exit code 1 where a row passes in one run and fails in the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FACTS = {
    "vgprs": "VGPR", "spills": "spills", "occupancy": "waves/SIMD", "lds": "LDS", "barriers_per_iteration": "barriers", "narrow_weight_loads": "narrow loads",
    "modelled_cycles_per_weight_byte": "cycles/weight KiB",
}  # fmt: skip
KIB = {"modelled_cycles_per_weight_byte"}
SAME = 0.02  # modelled cycles within this are the same


def by_label(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a file that `kernels gate --json` wrote, by kernel and configuration."""
    return {f"{row['kernel']} [{row['config']}]": row for row in json.loads(path.read_text())}


def changed(old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, tuple[float | None, float | None]]:
    """The facts that differ; modelled cycles by more than SAME of the old."""
    found = {}
    for name in FACTS:
        a, b = old.get(name), new.get(name)
        close = name in KIB and a is not None and b is not None and abs(b - a) <= SAME * a
        if a != b and not close:
            found[name] = (a, b)
    return found


def cell(name: str, pair: tuple[float | None, float | None] | None) -> str:
    """A changed fact as the table shows it: "old -> new", modelled cycles per KiB; empty where nothing changed."""
    if pair is None:
        return ""
    return " -> ".join("none" if value is None else format(1024 * value if name in KIB else value, ".3g") for value in pair)


def main(old_path: Path, new_path: Path) -> int:
    """Print the table; -> 1 where a row passes in one file and not in the other."""
    old, new = by_label(old_path), by_label(new_path)
    both = [label for label in old if label in new]
    rows = {label: changed(old[label]["measures"], new[label]["measures"]) for label in both}
    print(f"| kernel [configuration] | {' | '.join(FACTS.values())} | passes |\n|{'---|' * (len(FACTS) + 2)}")
    flipped = 0
    for label, facts in rows.items():
        passes = (old[label]["ok"], new[label]["ok"])
        flipped += passes[0] != passes[1]
        if facts or passes[0] != passes[1]:
            told = "both" if all(passes) else "neither" if not any(passes) else f"{'yes' if passes[0] else 'no'} -> {'yes' if passes[1] else 'no'}"
            print(f"| {label} | {' | '.join(cell(name, facts.get(name)) for name in FACTS)} | {told} |")
    same = sum(not facts for facts in rows.values())
    alone = f"{len(old) - len(both)} are only in {old_path.name}, {len(new) - len(both)} only in {new_path.name}"
    print(f"\n{same} of {len(both)} rows show the same facts; {alone}.")
    return int(flipped > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
