#!/usr/bin/env bash
# asv: a benchmark that gets 1 % slower with each commit is never a regression, not after 320 commits and a factor of 24.
#
# Guess, written down before (2026-11-30): a slow drift is cut into steps, and the last one against the best is a regression.
# Versions: asv 0.6.6, CPython 3.11.7, Linux. No benchmark is run: its detection of steps is called with the series.
# Behaviour: asv publishes a regression where its step detection finds one. A series that grows steadily is fitted as one step, without
#   noise and with it, at 0.2 %, 1 %, 3 % and 10 % a commit alike, so that nothing is reported; growth in plateaus is found:
#   20 commits of 1.0, then 20 of 1.04, is a regression. A single outlier is a step of its own.
# Output seen (2026-11-30): "1 % a commit: x1.47 after 40, x4.87 after 160, x23.91 after 320: 1, 1, 1 steps, regressions: none",
#   "a plateau 4 % higher: 2 steps, regression from 1.0 to 1.04", "an outlier: 3 steps"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check asv==0.6.6 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

from asv.step_detect import detect_regressions, detect_steps


def judged(series):
    steps = detect_steps(series)
    latest, best, _ = detect_regressions(steps)
    return len(steps), latest and (best, latest)


drifts = {count: [1.01**commit for commit in range(count)] for count in (40, 160, 320)}
found = {count: judged(series) for count, series in drifts.items()}
print("1 % a commit:", ", ".join(f"x{series[-1]:.2f} after {count}" for count, series in drifts.items()) + ":",
      ", ".join(str(steps) for steps, _ in found.values()), "steps, regressions:", [each for _, each in found.values() if each] or "none")
plateau, outlier = judged([1.0] * 20 + [1.04] * 20), judged([1.0] * 10 + [5.0] + [1.0] * 10)
print(f"a plateau 4 % higher: {plateau[0]} steps, regression from {plateau[1][0]} to {plateau[1][1]}" if plateau[1] else "a plateau: none")
print(f"an outlier: {outlier[0]} steps")
if set(found.values()) != {(1, None)} or plateau != (2, (1.0, 1.04)) or outlier[0] != 3:
    sys.exit("changed: what asv takes for a regression")
PYTHON
