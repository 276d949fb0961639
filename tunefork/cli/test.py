"""`test`: the project's tests, in the environment that develop makes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence

import click

from tunefork.base.errors import MissingTool
from tunefork.base.extras import installing
from tunefork.base.layout import Layout
from tunefork.base.process import bound
from tunefork.cli.output import say

MOST_WORKERS = 8  # the longest group alone takes longer than an eighth of the whole
# Each of these wants the tests in pytest's own process, or says how many workers there are.
IN_ONE_PROCESS = ("-n", "--numprocesses", "-s", "--capture=no", "--pdb", "--trace", "--co", "--collect-only", "--fixtures", "--markers", "--setup-plan")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.option("--no-develop", is_flag=True, help="Do not apply and develop first; tests that need vLLM then skip, and say so.")
@click.option("--quick", is_flag=True, help="Every room: no server, no gate, few examples of each property. Implies --no-develop.")
@click.option("--long", "long_", is_flag=True, help="Each property on its full number of examples.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]...")
def test(no_develop: bool, quick: bool, long_: bool, pytest_args: tuple[str, ...]) -> int:
    """Run the tests: first `apply` and `develop --target cpu` (a no-op when done), then pytest with what you add.

    \b
    python3 build.py test                             everything that this machine can run
    python3 build.py test --quick                     while you work: every room, no server
    python3 build.py test --long                      everything, and the full number of examples of each property
    python3 build.py test tests/patchset -k lock

    The tests run in one process per core, eight at most; `-n 0` runs them in one. Those of the installed vLLM or the GPU stay together
    in one of them.

    With a ROCm torch, which target cpu would replace, nothing is applied or developed: the tests take the environment as it is, and the
    end-to-end tests, which state what target cpu serves, skip. There, `apply` and `develop` come first, by hand.

    What cannot run here (no GPU, AITER not reachable) is listed with its reason at the end. Exit code: pytest's.
    """
    if quick and long_:
        raise click.UsageError("--quick draws few examples of each property and --long all of them: give one of the two")
    layout = Layout.here()
    if importlib.util.find_spec("pytest") is None:
        raise MissingTool("the tests need pytest, not installed here", installing("test"))
    # The tests start hundreds of processes, and each would compile our modules, pytest its rewritten tests, once more.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if quick:
        say("--quick: nothing is applied or developed; what is slow or needs a server is left out")
    elif not no_develop and (why := as_it_is()):
        say(f"{why}: nothing is applied or developed; the tests take it as it is, and tests/e2e, which needs target cpu, skips")
    elif not no_develop:
        for step in (["apply", "--variant", "all"], ["develop", "--target", "cpu"]):
            say(f"build.py {' '.join(step)}")
            done = subprocess.run(bound([sys.executable, str(layout.root / "build.py"), "--no-venv", *step]), check=False)
            if done.returncode:
                return done.returncode
        environment["TUNEFORK_E2E_READY"] = "1"
    budget = ["--quick"] * quick + ["--long"] * long_
    spread = workers(pytest_args)
    if spread:  # OpenMP's threads of one worker would wait, spinning, for a core that another has
        environment.setdefault("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-P", "-m", "pytest", "--rootdir", str(layout.root), "-c", str(layout.root / "pyproject.toml"),
               *spread, *budget, *pytest_args]  # fmt: skip
    return subprocess.run(bound(command), cwd=layout.root, env=environment, check=False).returncode


def workers(pytest_args: Sequence[str]) -> list[str]:
    """What spreads the tests over the cores; nothing where that cannot be or where the caller decides."""
    cores = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    decided = any("::" in word or word.startswith(IN_ONE_PROCESS) for word in pytest_args)
    if cores < 2 or decided or importlib.util.find_spec("xdist") is None:
        return []
    return ["-n", str(cores)]


def as_it_is() -> str:
    """Why this environment is left as it is; "" where target cpu may be developed in it. tests/e2e asks too."""
    from tunefork.develop.installed import read_mark
    from tunefork.develop.machine import installed_torch
    from tunefork.develop.targets import keeps_from_cpu

    mark = read_mark()
    return keeps_from_cpu(installed_torch(), mark.target if mark else None)
