"""One pair of an experiment in a process of its own, which bench/machine/spread.py starts where the pair's GPUs are.

    python -m tunefork.bench.ab.worker EXPERIMENT_FOLDER COMPARISON PAIR ATTEMPT

Everything else is in the experiment's plan. Exit code 1: a trial failed (failures.jsonl says why); 130: stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.redact import REDACTED
from tunefork.bench.ab import experiment, run
from tunefork.bench.ab.arms import trials
from tunefork.bench.machine import devices
from tunefork.bench.records.store import default_store


def say(line: str) -> None:
    """To the log of this pair."""
    print(line, file=sys.stderr, flush=True)


def main(folder: str, name: str, pair: str, number: str) -> int:
    """Measure the pair. number: of the attempt, from 0."""
    layout, where = Layout.here(), Path(folder)
    planned = experiment.read(where / experiment.FILE)
    if REDACTED in str(planned):
        say("error: the plan was made with a secret, which is not kept\n  try: without --spread, or with the secret in the environment")
        return 1
    comparison = next(one for one in planned.comparisons if one.name == name)
    failed: dict[str, int] = {}
    try:
        # Several servers may start on this host at once: each takes a free port.
        made = trials(layout, default_store(layout), where, planned, (comparison,), say, port=0)
        run.both(where, planned, comparison, int(pair), made, devices.visible(), failed, say, int(number))
    except TuneforkError as error:
        say(error.told)
        return 1
    except KeyboardInterrupt:
        return 130
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
