"""One trial: a server start of one arm, every scenario measured on it, a labelled record of each.

An arm is a variant of the installed vLLM, a command of the user's own, or a server that runs already.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tunefork.base import ports
from tunefork.base.errors import BadInput, ServeError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.bench.ab import answers
from tunefork.bench.ab.pairs import Scenario
from tunefork.bench.ab.plan import Slot
from tunefork.bench.load import client_builtin, client_vllm, load
from tunefork.bench.machine import devices, host
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.records.schema import ServerRecord
from tunefork.bench.records.store import Store, new_id
from tunefork.bench.run import settings as configure
from tunefork.bench.run.measure import Client, Measurement, measure
from tunefork.bench.run.session import Subject, cached, memory_watched, session, subject
from tunefork.bench.run.settings import Settings
from tunefork.bench.server import prepare
from tunefork.bench.server.command import DROPPED, ServeCommand
from tunefork.bench.server.server import Server
from tunefork.bench.server.target import Target

CLIENTS: dict[str, Client] = {"vllm": client_vllm.measure, "builtin": client_builtin.measure}
OpenArm = Callable[[], AbstractContextManager[Target]]
"""Called once a trial: a server that answers, for as long as the ``with`` lasts."""


@dataclass(frozen=True)
class Trials:
    """What all trials of an experiment share. arms: by variant, profile, command or URL.

    accuracy: in the first pair both arms also answer the profile's accuracy task.  profiles: of the arms that have their own, by arm.
    """

    layout: Layout
    store: Store
    settings: Settings
    profile: Profile
    arms: Mapping[str, OpenArm]
    client: str
    accuracy: bool
    folder: Path
    say: Say
    profiles: Mapping[str, str] = field(default_factory=dict)

    def scenarios(self) -> list[Scenario]:
        """Every load of a trial."""
        return [(one.isl, one.osl, conc) for one in self.profile.scenarios for conc in one.conc]

    def __call__(self, variant: str, slot: Slot, labels: Mapping[str, str]) -> None:
        """Make one trial. ServeError when its server does not start or dies; what was measured before has its records."""
        given = rules.load(self.profile)
        with self.arms[variant]() as target:
            if self.accuracy and slot.pair == 0:
                answers.ask(target, given.accuracy, answers.place(self.folder, labels["comparison"], slot.arm))
            shared = Measurement(store=self.store, rules=given, profile=self.profiles.get(variant, self.profile.name), batch=str(self.folder),
                                 project=host.project_commit(self.layout.root), client=CLIENTS[self.client],
                                 client_timeout_s=self.settings.client_timeout_s, seed_divisor=self.settings.seed_divisor,
                                 labels={**labels, "client": self.client})
            for isl, osl, conc in self.scenarios():
                one = load.scenario(isl, osl, conc, given.load, range_ratio=self.settings.range_ratio,
                                    num_prompts=self.settings.num_prompts, seed=slot.seed)
                record = measure(shared, target, one, None, self.folder / "trials" / f"{target.trial}-isl{isl}-osl{osl}-conc{conc}")
                died = next((problem for problem in record.problems if problem.kind == "server-died"), None)
                if died:
                    raise ServeError(died.message, f"read {target.server.log}")
                if record.status != "passed":
                    target.check()  # the client may see failed requests before anyone sees that the server is gone
                self.say(f"  {isl}/{osl} c{conc}: {said(record.metrics, record.status, record.problems[0].message if record.problems else None)}")


def said(numbers: Mapping[str, float] | None, status: str, problem: str | None = None) -> str:
    """One line about a record."""
    if status != "passed" or numbers is None:
        return status if problem is None else f"{status}: {problem}"
    return f"{numbers['total_token_throughput']:.1f} tok/s, TPOT {numbers['median_tpot_ms']:.2f} ms, E2E {numbers['median_e2el_ms']:.0f} ms"


def variant_arm(layout: Layout, profile: Profile, settings: Settings, variant: str, say: Say) -> OpenArm:
    """An arm that is a variant of the installed vLLM; it is applied and furnished now, before any trial."""
    own = settings.model_copy(update={"variant": variant})
    under_test = subject(layout, own, say)
    return lambda: session(layout, profile, own, under_test, say)


def url_arm(layout: Layout, profile: Profile, settings: Settings, base_url: str, client: str, say: Say) -> OpenArm:
    """An arm that runs already: its trials have no server start of their own."""
    own = settings.model_copy(update={"base_url": base_url})
    # Only vLLM's client needs an installed vLLM, and subject() asks for it.
    under_test = Subject(None, ()) if client == "builtin" else subject(layout, own, say)
    return lambda: session(layout, profile, own, under_test, say)


def command_arm(layout: Layout, profile: Profile, settings: Settings, text: str, say: Say) -> OpenArm:
    """An arm that is a shell-quoted command with {port} in it; no shell runs it."""
    if "{port}" not in text:
        raise BadInput(f"--server-cmd {text!r} does not say where the port goes", "--server-cmd-a 'my-server --port {port}'")
    return lambda: commanded(layout, profile, settings, text, say)


@contextmanager
def commanded(layout: Layout, profile: Profile, settings: Settings, text: str, say: Say) -> Iterator[Target]:
    """The user's server, supervised like our own."""
    port = settings.port or ports.free_port("127.0.0.1")
    gpus = devices.visible()[: settings.gpus or profile.gpus]
    argv = tuple(word.replace("{port}", str(port)) for word in shlex.split(text))
    folder = prepare.serve_logs(layout)
    made = ServeCommand(argv=argv, env={}, unset=DROPPED, cwd=folder, host="127.0.0.1", port=port, served_name=profile.served_name)
    log = prepare.log_path(layout, profile, Path(argv[0]).name)
    with (memory_watched(gpus, say),
          Server(made, log=log, ready_timeout_s=settings.ready_timeout_s or profile.ready_timeout_s, say=say) as server):
        described = ServerRecord(
            own=True, base_url=server.base_url, model=settings.model or profile.model, served_name=profile.served_name, target="unknown",
            version="unknown", gpus=settings.gpus or profile.gpus, argv=argv, env={}, seconds_to_ready=server.seconds_to_ready,
            log=str(log), prefix_cache=cached(server.client, argv, say))
        yield Target(server=described, trees=(), versions=host.versions(), python=Path(sys.executable), env={}, cwd=folder,
                     trial=new_id(profile.name, "trial"), check=server.check)


def settle(options: Mapping[str, object]) -> tuple[Settings, Profile]:
    """Settings and profile from what was typed. The guide's environment variables are not read: they name one configuration."""
    made, _ = configure.settings(options, {})
    return made, configure.profile(made)
