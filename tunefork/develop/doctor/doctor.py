"""`doctor`: what of this machine and environment is right, wrong, or not applicable, and what to type about it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.develop.doctor import install_checks, machine_checks
from tunefork.develop.doctor.check import Check, Patient
from tunefork.develop.machine import Machine, probe


def examine(layout: Layout, *, machine: Machine | None = None, root: Path = Path("/"), target: str = "") -> list[Check]:
    """All checks, in a fixed order; those that ask the network run at the same time. target: other than this machine's own."""
    patient = Patient(layout, machine or probe(root), dict(os.environ), root, target)
    with ThreadPoolExecutor() as pool:
        asked = pool.map(lambda check: check(), install_checks.reachable_checks(patient))
        return [*(check(patient) for check in (*machine_checks.CHECKS, *install_checks.CHECKS)), *asked]
