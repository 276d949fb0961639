#!/usr/bin/env bash
# optuna: an enqueued trial or a grid with a value outside of the range is run with it, and can become the best.
#
# Guess, written down before (2026-11-30): a value outside of suggest_int's range raises, or is replaced by one inside.
# Versions: optuna 5.0.0, CPython 3.11.7, Linux.
# Behaviour: suggest_int("block", 16, 64, step=16) returns 128 if a trial was enqueued with it, and 100 if the GridSampler's space has it,
#   though neither is in the range nor on its step; a UserWarning is all. The trial is COMPLETE and study.best_params is {"block": 100}.
#   A categorical value that is no choice is a ValueError. So whoever narrows the range of a tuned kernel and keeps
#   the old list of trials measures, and may choose, a configuration that the kernel does not allow.
# Output seen (2026-11-30): "enqueued: block 128, COMPLETE, warnings 1", "grid: block 100, 48, best {'block': 100}, warnings 1",
#   "categorical: ValueError"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def run(study, trials):
    def time_of(trial):
        return -trial.suggest_int("block", 16, 64, step=16)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        study.optimize(time_of, n_trials=trials)
    return [trial.params["block"] for trial in study.trials], len([each for each in caught if "block" in str(each.message)])


study = optuna.create_study()
study.enqueue_trial({"block": 128})
enqueued, warned = run(study, 1)
print(f"enqueued: block {enqueued[0]}, {study.trials[0].state.name}, warnings {warned}")
study = optuna.create_study(sampler=optuna.samplers.GridSampler({"block": [48, 100]}, seed=0))
grid, also_warned = run(study, 2)
print(f"grid: blocks {sorted(grid)}, best {study.best_params}, warnings {also_warned}")
study = optuna.create_study()
study.enqueue_trial({"kind": "c"})
try:
    chosen = study.ask().suggest_categorical("kind", ["a", "b"])
except ValueError as error:
    chosen = type(error).__name__
print("categorical:", chosen)
if enqueued != [128] or sorted(grid) != [48, 100] or chosen != "ValueError":
    sys.exit("changed: what optuna does with a value outside of the range")
PYTHON
