"""Runs a module as ``python -m`` does, and samples how late the event loop of its ``asyncio.run`` serves what is due.

    python probe.py SAMPLES MODULE [ARGUMENT]...

SAMPLES gets a JSON list of [time of the loop's clock, lateness], in seconds, once the loop has ended. For clients that are not ours, in an environment
that need not have this project: nothing of it is imported, and nothing of theirs is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

EVERY_S = 0.02


def sampled(run: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """``asyncio.run`` with a sampler beside what it runs."""
    return lambda work, **how: run(beside(work, path), **how)


async def beside(work: Coroutine[Any, Any, Any], path: Path) -> Any:
    """What ``work`` comes to; the samples are written when it ends, also by an error."""
    samples: list[tuple[float, float]] = []
    task = asyncio.create_task(sample(samples))
    try:
        return await work
    finally:
        task.cancel()
        with contextlib.suppress(OSError):
            path.write_text(json.dumps(samples), encoding="ascii")


async def sample(samples: list[tuple[float, float]]) -> None:
    """A sleep that should end at a time, and when it did, again and again."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + EVERY_S
        await asyncio.sleep(EVERY_S)
        samples.append((loop.time(), loop.time() - due))


def main() -> None:
    path, module = Path(sys.argv[1]).absolute(), sys.argv[2]  # absolute: the module may change the folder
    sys.argv[1:3] = []
    sys.path[0] = ""  # as -m has it, and not the folder of this file, whose modules would hide others
    asyncio.run = sampled(asyncio.run, path)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
