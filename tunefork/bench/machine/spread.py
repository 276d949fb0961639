"""Spread commands over GPUs: of this machine in local processes, or of several hosts by Ray. Each has its GPUs for itself.

    from tunefork.bench.machine.spread import Local, Ray, Task, spread

    tasks = [Task("m64", (sys.executable, "-m", "my.job", "64"), gpus=1, cwd=folder, log=folder / "m64.log", deadline_s=3600)]
    for ended in spread(tasks, Local(devices.visible()), say):          # or Ray("auto")
        print(ended.task.name, ended.host, ended.gpus, ended.finished.exit_code)

A task is a command and not a function, so that it can be typed by hand, and that a crash, a hang or a full GPU is its own. It is started
under a guardian (base/guardian.py): nothing of it survives us. It sees its GPUs alone (HIP_ and CUDA_VISIBLE_DEVICES), and
``machine/devices.py``'s locks hold them against other tools of this user. A task that asks for no GPU (compiling) takes one of ``Local.slots``
or one of Ray's CPUs. A task is never run twice: what failed is told by its exit code.

Ray is the extra ``ray``; it is not needed on one machine. Its hosts must see the folders under the same paths (a shared disk) and have this
project's environment at the same place. What a command leaves in files is its result.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunefork.base.errors import BadInput, MissingTool, first_line
from tunefork.base.extras import installing
from tunefork.base.layout import user_cache
from tunefork.base.process import Say, quiet
from tunefork.base.program import Finished, run_program
from tunefork.base.waiting import EVERY_S, Waiting, ticking
from tunefork.bench.machine import devices

LOST = "lost"


@dataclass(frozen=True)
class Task:
    """One command. gpus: how many it needs.  env: over the inherited variables.  deadline_s: after which it is stopped."""

    name: str
    argv: tuple[str, ...]
    gpus: int
    cwd: Path
    log: Path
    deadline_s: float
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How and where a task ended. gpus: as its host counts them.  problem: why it could not be run to its end, "" where it was."""

    task: Task
    host: str
    gpus: tuple[str, ...]
    finished: Finished
    problem: str = ""

    @property
    def good(self) -> bool:
        return self.finished.exit_code == 0


@dataclass(frozen=True)
class Local:
    """This machine. gpus: those to use (serving/devices.visible()).  slots: tasks without a GPU at a time."""

    gpus: tuple[str, ...]
    slots: int = 1


@dataclass(frozen=True)
class Ray:
    """A Ray cluster: "auto" for the one that runs on this machine, or its address."""

    address: str = "auto"


def spread(tasks: Sequence[Task], place: Local | Ray, say: Say = quiet) -> Iterator[Ended]:
    """Run the tasks, as many at a time as there is room; yields each at its end. BadInput where one can never have its GPUs.

    A generator that is closed early (or a Ctrl-C) stops what still runs.
    """
    if isinstance(place, Ray):
        yield from _by_ray(tasks, place, say)
    else:
        yield from _here(tasks, place, say)


def perform(task: Task, gpus: tuple[str, ...], cancelled: threading.Event | None = None) -> Finished:
    """Run a task on this machine with these GPUs, once no other measurement has them."""
    def watch() -> None:
        if cancelled is not None and cancelled.is_set():
            raise Cancelled

    # Where Ray runs it, the shell's variables are another's: the task's own tell which cache.
    cache = Path(task.env["TUNEFORK_CACHE"]) if "TUNEFORK_CACHE" in task.env else user_cache()
    with devices.beside(cache, gpus, quiet):
        env = {**os.environ, **task.env, **(devices.variables(gpus) if gpus else {})}
        return run_program(task.argv, env=env, cwd=task.cwd, log=task.log, deadline_s=task.deadline_s, watch=watch)


class Cancelled(Exception):
    """The spreading has ended; what runs is stopped."""


def _here(tasks: Sequence[Task], place: Local, say: Say) -> Iterator[Ended]:
    """Threads that each wait for one process; the GPUs in use are counted here."""
    for task in tasks:
        if task.gpus > len(place.gpus):
            raise BadInput(f"{task.name} asks for {task.gpus} GPU{'s' if task.gpus > 1 else ''}, this machine has {len(place.gpus)} to give",
                           "spread over a Ray cluster, or ask for fewer")
    waiting, free, slots = list(tasks), list(place.gpus), place.slots
    running: dict[str, threading.Thread] = {}
    done: queue.Queue[Ended] = queue.Queue()
    cancelled = threading.Event()

    def work(task: Task, gpus: tuple[str, ...]) -> None:
        try:
            ended = Ended(task, platform.node(), gpus, perform(task, gpus, cancelled))
        except Exception as error:
            ended = Ended(task, platform.node(), gpus, Finished(None, 0.0), f"{type(error).__name__}: {error}")
        done.put(ended)

    line = _line(tasks, lambda: len(waiting) + len(running), lambda: f"at {', '.join(running)}")
    try:
        while waiting or running:
            for task in tuple(waiting):
                if task.gpus <= len(free) and (task.gpus or slots):
                    gpus, free[:] = tuple(free[: task.gpus]), free[task.gpus :]
                    slots -= not task.gpus
                    waiting.remove(task)
                    say(f"{task.name}: {f'GPU {chr(44).join(gpus)}' if gpus else 'started'}")
                    running[task.name] = threading.Thread(target=work, args=(task, gpus), name=task.name)
                    running[task.name].start()
            ended = _looking(done, line)
            running.pop(ended.task.name).join()
            free[:] = sorted([*free, *ended.gpus], key=place.gpus.index)
            slots += not ended.task.gpus
            yield ended
    finally:
        cancelled.set()
        for thread in running.values():
            thread.join()


def _line(tasks: Sequence[Task], left: Callable[[], int], now: Callable[[], str]) -> Waiting:
    """What whoever waits for the next end sees."""
    return Waiting("tasks ended", far=lambda: (len(tasks) - left(), len(tasks)), now=now, log=tasks[0].log.parent if tasks else None)


def _looking(done: queue.Queue[Ended], line: Waiting) -> Ended:
    """The next that ended."""
    with line:
        while True:
            with contextlib.suppress(queue.Empty):
                return done.get(timeout=EVERY_S / 2)
            line.look()


def _by_ray(tasks: Sequence[Task], place: Ray, say: Say) -> Iterator[Ended]:
    """One Ray task each; Ray chooses host and GPUs."""
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingTool("spreading over hosts needs Ray, which is not installed here", installing("ray")) from None
    begun = not ray.is_initialized()
    if begun:
        try:
            with ticking(f"asking Ray's cluster at {place.address}"):
                ray.init(address=place.address, log_to_driver=False, logging_level="ERROR", namespace="tunefork")
        except (ConnectionError, OSError, ValueError, RuntimeError) as error:
            raise BadInput(f"no Ray cluster answers at {place.address}: {first_line(error)}",
                           "`ray start --head` on one host, `ray start --address=...` on the others") from None
    pending: dict[object, Task] = {}
    try:
        most = max((node["Resources"].get("GPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        for task in tasks:
            if task.gpus > most:
                raise BadInput(f"{task.name} asks for {task.gpus} GPUs of one host, Ray knows {most:.0f}", "`ray status` lists the hosts")
        # Never again by itself: a trial that ran twice would stand in the records twice.
        remote = ray.remote(max_retries=0)(_on_a_host)
        pending = {remote.options(num_gpus=task.gpus, num_cpus=1, name=task.name).remote(task): task for task in tasks}
        line = _line(tasks, lambda: len(pending), str)
        while pending:
            ready = None
            with line:
                while ready is None:
                    ready = next(iter(ray.wait(list(pending), num_returns=1, timeout=EVERY_S)[0]), None)
                    line.look()
            task = pending.pop(ready)
            try:
                ended = ray.get(ready)
            except ray.exceptions.RayError as error:
                ended = Ended(task, LOST, (), Finished(None, 0.0), f"{type(error).__name__}: {first_line(error)}")
            say(f"{task.name}: ended on {ended.host}{f', GPU {chr(44).join(ended.gpus)}' if ended.gpus else ''}")
            yield ended
    finally:
        for one in pending:
            ray.cancel(one, force=True)
        if begun:
            ray.shutdown()


def _on_a_host(task: Task) -> Ended:
    """What Ray runs where the GPUs are."""
    import ray

    gpus = tuple(str(one) for one in ray.get_runtime_context().get_accelerator_ids()["GPU"])
    return Ended(task, platform.node(), gpus, perform(task, gpus))
