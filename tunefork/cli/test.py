"""`test`: the project's tests, in the environment that develop makes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import click

from tunefork.base.errors import MissingTool
from tunefork.base.layout import Layout
from tunefork.cli.output import say


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]})
@click.option("--no-develop", is_flag=True, help="Do not apply and develop first; tests that need vLLM then skip, and say so.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]...")
def test(no_develop: bool, pytest_args: tuple[str, ...]) -> int:
    """Run the tests: first `apply` and `develop --target cpu` (a no-op when done), then pytest with what you add.

    \b
    python build.py test                             everything that this machine can run
    python build.py test -m "not e2e and not slow"   without the real server
    python build.py test tests/patchset -k lock

    With a ROCm torch, which target cpu would replace, nothing is applied or developed: the tests take the environment as it is, and the
    end-to-end tests, which state what target cpu serves, skip. There, `apply` and `develop` come first, by hand.

    What cannot run here (no GPU, AITER not reachable) is listed with its reason at the end. Exit code: pytest's.
    """
    layout = Layout.here()
    if importlib.util.find_spec("pytest") is None:
        raise MissingTool("the tests need pytest, not installed here", f"{sys.executable} -m pip install 'tunefork[test]'")
    environment = dict(os.environ)
    if not no_develop and (why := as_it_is()):
        say(f"{why}: nothing is applied or developed; the tests take it as it is, and tests/e2e, which needs target cpu, skips")
    elif not no_develop:
        for step in (["apply", "--variant", "all"], ["develop", "--target", "cpu"]):
            say(f"build.py {' '.join(step)}")
            done = subprocess.run([sys.executable, str(layout.root / "build.py"), "--no-venv", *step], check=False)
            if done.returncode:
                return done.returncode
        environment["TUNEFORK_E2E_READY"] = "1"
    command = [sys.executable, "-P", "-m", "pytest", "--rootdir", str(layout.root), "-c", str(layout.root / "pyproject.toml"), *pytest_args]
    return subprocess.run(command, cwd=layout.root, env=environment, check=False).returncode


def as_it_is() -> str:
    """Why this environment is left as it is; "" where target cpu may be developed in it. tests/e2e asks too."""
    from tunefork.develop.installed import read_mark
    from tunefork.develop.machine import installed_torch
    from tunefork.develop.targets import keeps_from_cpu

    mark = read_mark()
    return keeps_from_cpu(installed_torch(), mark.target if mark else None)
