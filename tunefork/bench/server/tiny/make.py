"""Ask the developed environment for the tiny model, from a process that has no torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import tunefork
from tunefork.base.errors import ServeError
from tunefork.base.layout import Layout
from tunefork.base.process import Say, run
from tunefork.base.waiting import ticking


def tiny_model(layout: Layout, python: Path, say: Say) -> Path:
    """The folder of the tiny checkpoint, made first when the cache has none (a minute or two)."""
    models = layout.cache / "models"
    # The environment may be another than ours: lend it this package, and nothing beside it (the root holds a link called kernels).
    source = layout.work / "lent"
    source.mkdir(parents=True, exist_ok=True)
    (source / "tunefork").unlink(missing_ok=True)
    (source / "tunefork").symlink_to(next(iter(tunefork.__path__)))
    layout.logs.mkdir(parents=True, exist_ok=True)
    log = layout.logs / "tiny-model.log"
    with ticking("making the tiny model", log=log):
        output = run(
            [python, "-m", "tunefork.bench.server.tiny", "--models", models],
            log=log,
            cwd=layout.logs,
            env={**os.environ, "PYTHONPATH": str(source)},
            on_line=lambda line: say(line) if line.startswith("making") else None,
        )
    try:
        return Path(json.loads(output.splitlines()[-1])["path"])
    except (IndexError, ValueError, KeyError, TypeError):
        raise ServeError("making the tiny model said nothing that could be understood",
                         f"read {log}") from None
