"""Make the tiny GPT-OSS, or find it made.

    python -m tunefork.bench.server.tiny --models FOLDER

The last line of its output is {"path": ..., "made": true, "seconds": ...}.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from tunefork.bench.server.tiny.recipe import Recipe
from tunefork.bench.server.tiny.store import obtain


def make_files(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """checkpoint.make_files, imported only when something must be made: torch and transformers take five seconds."""
    print("making the tiny GPT-OSS (once; a minute or two)", flush=True)
    os.environ["HF_HUB_OFFLINE"] = "1"
    from tunefork.bench.server.tiny import checkpoint

    return checkpoint.make_files(recipe, folder)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="the folder that keeps one model per recipe")
    models: Path = parser.parse_args().models
    started = time.monotonic()
    path, made = obtain(models.resolve(), Recipe(), make_files)
    print(json.dumps({"path": str(path), "made": made, "seconds": round(time.monotonic() - started, 2)}))


if __name__ == "__main__":
    main()
