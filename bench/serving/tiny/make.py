"""Ask the developed environment for the tiny model, from a process that has no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import tunefork
from tunefork.patchset.errors import ServeError
from tunefork.patchset.layout import Layout
from tunefork.patchset.process import Say, run


def tiny_model(layout: Layout, python: Path, say: Say) -> Path:
    """The folder of the tiny checkpoint, made first when the cache has none (half a minute)."""
    models = layout.cache / "models"
    # The environment may be another than ours: lend it this package, and nothing beside it.
    source = Path(next(iter(tunefork.__path__))).parent
    layout.logs.mkdir(parents=True, exist_ok=True)
    output = run(
        [python, "-m", "tunefork.bench.serving.tiny", "--models", models],
        log=layout.logs / "tiny-model.log",
        cwd=layout.logs,
        env={**os.environ, "PYTHONPATH": str(source)},
        on_line=lambda line: say(line) if line.startswith("making") else None,
    )
    try:
        return Path(json.loads(output.splitlines()[-1])["path"])
    except (IndexError, ValueError, KeyError, TypeError):
        raise ServeError("making the tiny model said nothing that could be understood",
                         f"read {layout.logs / 'tiny-model.log'}") from None
