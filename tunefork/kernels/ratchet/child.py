"""A line of JSON per row, [label, counts], for a parent that has put another Triton first on the path: ``child ARCH LABELS-OR-null WORKERS``."""

from __future__ import annotations

import json
import sys

from tunefork.kernels.ratchet.counts import as_json, counted


def main() -> None:
    """Count and print."""
    arch, only, workers = sys.argv[1:]
    for label, found in counted(arch, json.loads(only), workers=int(workers) or None):
        print(json.dumps([label, as_json(found)]), flush=True)


if __name__ == "__main__":
    main()
