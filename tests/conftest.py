"""What every test may count on: the environment of the process is the one that pytest was started with.

Here too: what `--quick` leaves out, what `--long` draws more of, and which tests share one worker when several run.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

STARTED_WITH = dict(os.environ)
HERE = Path(__file__).resolve().parent


_spec = importlib.util.spec_from_file_location("loading", HERE / "loading.py")
assert _spec is not None and _spec.loader is not None
sys.modules["loading"] = loading = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loading)

# studies and tools are importable without the root on the path, where the link `kernels` would shadow the library of that name.
for name in ("studies", "tools"):
    loading.module(name, HERE.parent / name / "__init__.py", str(HERE.parent / name))
budgets, workers, skips, *_ = (loading.module(name, HERE / f"{name}.py") for name in ("budgets", "workers", "skips", "project", "inner", "every_step"))


LONG_SHARE = 50  # a file is long whose tests are this part of the whole


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tunefork")
    group.addoption("--quick", action="store_true", help="no test that is slow or drives the real vLLM, and few examples of each property")
    group.addoption("--long", action="store_true", help="the full number of examples of each property")
    group.addoption("--random", action="store_true", help="in random order (pytest-randomly); --randomly-seed=N of the header gives the same again")
    group.addoption("--skip-budget", action="store_true", help="as in CI: fail where more tests skip for a reason than tests/skips.py allows")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported, and before xdist starts its workers."""
    # Begun by a shell's `&` or by nohup, whose children ignore them too: every test of Ctrl-C or of a hangup would wait for its limit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # we stay, as nohup was asked for; who is started has the default
    quick, long = config.getoption("quick"), config.getoption("long")
    if quick and long:
        raise pytest.UsageError("--quick draws few examples and --long all of them: give one of the two")
    budgets.choose(long=long, quick=quick)
    if config.getoption("random") and not config.pluginmanager.hasplugin("randomly"):
        from tunefork.base.extras import installing

        raise pytest.UsageError(f"--random needs pytest-randomly: {installing('test')}")
    if not config.getoption("random"):  # the plugin is on wherever it is installed
        config.option.randomly_reorganize = config.option.randomly_reset_seed = False
    config.option.loadscopereorder = False  # pytest_collection_modifyitems puts the longest first; xdist would the most numerous


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--quick` leaves out; in a worker, the longest files first, so that none begins when the others are done.

    Under `--random`, pytest-randomly has shuffled files and tests before this: tests stay in its order, and all files but those that are
    a fiftieth of the whole or more. One of minutes that began last would keep one worker alone.
    """
    if config.getoption("quick"):
        left_out = [item for item in items if item.get_closest_marker("e2e") or item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    if not hasattr(config, "workerinput"):
        return
    sizes: Counter[str] = Counter()
    for item in items:
        sizes[workers.group(item.nodeid)] += 10 if item.get_closest_marker("slow") else 1
    if config.getoption("random"):
        least = sizes.total() / LONG_SHARE
        for at, name in reversed(list(enumerate(workers.group(item.nodeid) for item in items))):
            if sizes[name] < least:
                sizes[name] = -at
    items.sort(key=lambda item: ((name := workers.group(item.nodeid)) != workers.VLLM, -sizes[name], name, workers.place(item.nodeid)))


SKIPPED: list[tuple[str, str]] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        SKIPPED.append((report.nodeid, skips.reason_of(report.longrepr)))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        SKIPPED.append((report.nodeid, skips.reason_of(report.longrepr)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip that nobody planned for is a failure."""
    if not hasattr(session.config, "workerinput") and exitstatus == pytest.ExitCode.OK and too_many(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in too_many(config):
        terminalreporter.write_line(f"SKIP BUDGET: {line}", red=True, bold=True)


def too_many(config: pytest.Config) -> list[str]:
    return list(skips.beyond(SKIPPED, counted=config.getoption("skip_budget")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `-n` without `--dist`. Not xdist's loadgroup: xdist 3.8 groups nothing, without a word, under pytest 9.2."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return str(workers.group(nodeid))

    return Groups(config, log)


def restore() -> None:
    """Take back what importing torch or vLLM put into os.environ, which our child processes would inherit."""
    for name in os.environ.keys() - STARTED_WITH.keys():
        if not name.startswith("PYTEST_"):
            del os.environ[name]
    os.environ.update(STARTED_WITH)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Test modules have been imported."""
    restore()


@pytest.fixture(autouse=True, scope="session")
def commands_keep_their_help_option() -> Iterator[None]:
    """A command that a test calls without build.py around it gets build.py's `-h` too: click keeps the help option of a command's first call
    for the rest of the process, and `build.py COMMAND -h` would be unknown to every later test."""
    alone = click.Command.main

    def main(self: click.Command, *words: Any, **extra: Any) -> Any:
        return alone(self, *words, **{"help_option_names": ["-h", "--help"], **extra})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click.Command, "main", main)
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_waits_for_the_disk() -> Iterator[None]:
    """What this process writes is not forced to the disk, some milliseconds each time: only a power cut tells the difference. Child processes sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: os.fstat(handle) and None)  # a closed file is still an error
        yield


@pytest.fixture(autouse=True)
def random_numbers_are_the_same() -> None:
    """torch's own generator starts anywhere: a test that draws from it would see other numbers in every run and in every order."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def environment_is_restored() -> Iterator[None]:
    """Whatever a test or what it imports sets is gone after it."""
    yield
    restore()
