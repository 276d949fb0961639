"""One server start as a target: our own server under supervision, or one that runs already."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import MissingTool, ServeError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.upstream_facts.vllm import HEALTH
from tunefork.bench.load import limits
from tunefork.bench.machine import devices, gpu_memory, host
from tunefork.bench.machine.gpu_processes import on_devices
from tunefork.bench.profiles.profile import TINY, Profile
from tunefork.bench.records.schema import ServerRecord, Tree
from tunefork.bench.records.store import new_id
from tunefork.bench.run.settings import Settings, address, fits
from tunefork.bench.server import prepare
from tunefork.bench.server.client import Client
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.server import Server
from tunefork.bench.server.target import Target
from tunefork.bench.server.tiny.make import tiny_model
from tunefork.develop.installed import installed_target
from tunefork.develop.variants import DEVELOP, VariantEnvironment
from tunefork.patchset.checkout.applied import applied_tree
from tunefork.patchset.checkout.running import running_from


@dataclass(frozen=True)
class Subject:
    """What is under test. environment: None for a server that somebody else started."""

    environment: VariantEnvironment | None
    trees: tuple[Tree, ...]

    @property
    def tree(self) -> str:
        """The vLLM tree's hash, "" where it is not known."""
        return self.environment.tree.tree if self.environment else ""

    @property
    def version(self) -> str:
        return self.environment.version if self.environment else ""


def check_first(profile: Profile, settings: Settings, *, client: str = "vllm", gate: bool, own: bool = True, conc: int = 0,
                urls: Sequence[str] = ()) -> None:
    """What a measurement needs of this machine, asked before a checkout, a folder or a server is made: MissingTool says what to type.

    gate: lm_eval will be asked.  own: the server will be the installed vLLM.  conc: of a load that is not the profile's.  urls: of servers that
    run already, beside that of ``settings``; ServeError where one does not answer, serves another model or takes no such load.
    """
    limits.files(max(conc, profile.most_conc))
    if client == "vllm":
        require_client()
    if gate:
        require_lm_eval()
    if own and not settings.base_url:
        target = installed_target()
        if target is None:
            raise MissingTool("vLLM is not installed here", DEVELOP)
        prepare.check_target(profile, target)
    for url in (*([address("--base-url", settings.base_url)] if settings.base_url else []), *urls):
        with Client(url, profile.served_name) as asked:
            served_name(asked, profile, settings)


def served_name(client: Client, profile: Profile, settings: Settings) -> str:
    """The name of the model at a server that runs already; ServeError when it does not answer, serves another or takes no such load."""
    if not client.healthy(timeout_s=10.0):
        raise ServeError(f"{client.base_url}{HEALTH} does not answer", "start that server, or leave out --base-url")
    served = client.models()
    # The guide serves the model under its own id; ours under the profile's name.
    name = next((one for one in (profile.served_name, settings.model) if one in served), None)
    if name is None:
        raise ServeError(f"{client.base_url} serves {', '.join(served) or 'nothing'}, not {profile.served_name}", f"--model {next(iter(served), 'ID')}")
    fits(profile, served[name])
    return name


def require_lm_eval() -> None:
    """MissingTool where the gate's tool is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingTool("the accuracy gate needs lm_eval, not installed here", DEVELOP)


def subject(layout: Layout, settings: Settings, say: Say) -> Subject:
    """Make the chosen variant ready to run; a running server has no known tree."""
    if settings.base_url:
        require_client()
        return Subject(None, ())
    from tunefork.develop.variants import environment

    made = environment(layout, settings.variant, say)
    trees = [host.tree(made.tree)]
    aiter = applied_tree(layout, "aiter") if made.target != "cpu" else None
    return Subject(made, (*trees, *([host.tree(aiter)] if aiter else [])))


def require_client() -> None:
    """MissingTool where the client is not installed."""
    if "vllm" not in host.versions():
        raise MissingTool("the client `vllm bench serve` is not installed here", DEVELOP)


def interpreter() -> Path:
    """The interpreter that has the client and lm_eval: this one."""
    return Path(sys.executable)


@contextmanager
def session(layout: Layout, profile: Profile, settings: Settings, under_test: Subject, say: Say) -> Iterator[Target]:
    """A target for as long as the ``with`` lasts; our own server is started and stopped, with all that it started."""
    trial = new_id(profile.name, "trial")
    if under_test.environment is None:
        yield running(layout, profile, settings, trial, say)
        return
    made = prepare.serve_command(layout, profile, under_test.environment, say=say, port=settings.port, model=settings.model,
                                 extra=settings.extra)
    log = prepare.log_path(layout, profile, under_test.environment.tree.variant, settings.server_log)
    say(f"starting vLLM {under_test.version} ({under_test.environment.tree.variant}) for profile {profile.name}; log: {log}")
    gpus = () if under_test.environment.target == "cpu" else devices.visible()[: profile.gpus]
    with (memory_watched(gpus, say), running_from(layout, under_test.environment.tree.path),
          Server(made, log=log, ready_timeout_s=settings.ready_timeout_s or profile.ready_timeout_s, say=say) as server):
        say(f"ready after {server.seconds_to_ready:.0f} s: {server.base_url}")
        yield own(profile, made, server, under_test, trial, cached(server.client, made.argv, say))


@contextmanager
def memory_watched(gpus: Sequence[str], say: Say) -> Iterator[None]:
    """A server's life: ServeError where its GPUs' memory is somebody's before it, or is not given back after it.

    The second is not looked for after a failure, which has its own reason to tell; the next start finds it.
    """
    if not gpus:
        yield
        return
    before = gpu_memory.require_free(gpus, lambda: on_devices(gpus), say)
    yield
    gpu_memory.require_released(gpus, before, lambda: on_devices(gpus))


def cached(client: Client, argv: Sequence[str], say: Say) -> bool | None:
    """Whether a server caches prefixes of prompts, by its metrics or else its flags; said where it does, since it may speed up repeats."""
    found = client.prefix_cache()
    if found is None and ("--enable-prefix-caching" in argv or "--no-enable-prefix-caching" in argv):
        found = "--enable-prefix-caching" in argv
    if found:
        say("the server's prefix cache is on: a prompt that it has seen costs less; every load here has prompts of its own (--seed draws them)")
    return found


def own(profile: Profile, made: ServeCommand, server: Server, under_test: Subject, trial: str, prefix_cache: bool | None) -> Target:
    """The target of a server that we started."""
    environment = under_test.environment
    assert environment is not None
    described = ServerRecord(
        own=True, base_url=server.base_url, model=made.argv[made.argv.index("serve") + 1], served_name=made.served_name,
        target=environment.target, version=environment.version, gpus=profile.gpus, argv=made.argv, env=made.env,
        seconds_to_ready=server.seconds_to_ready, log=str(server.log), prefix_cache=prefix_cache)
    return Target(server=described, trees=under_test.trees, versions=host.versions(), python=environment.python,
                  env=profile.environment, cwd=made.cwd, trial=trial, check=server.check)


def running(layout: Layout, profile: Profile, settings: Settings, trial: str, say: Say) -> Target:
    """The target of a server that runs already; ServeError when it does not answer or serves another model."""
    assert settings.base_url is not None
    base_url = address("--base-url", settings.base_url)
    with Client(base_url, profile.served_name) as client:
        name = served_name(client, profile, settings)
        prefix_cache = cached(client, (), say)
    python = interpreter()
    model = str(tiny_model(layout, python, say)) if profile.model == TINY else profile.model
    gpus = settings.gpus or profile.gpus
    if settings.gpus is None:
        say(f"taking the profile's word that {base_url} uses {gpus} GPU{'s' if gpus > 1 else ''} (--gpus N says otherwise)")
    described = ServerRecord(own=False, base_url=base_url, model=model, served_name=name, target="unknown", version="unknown",
                             gpus=gpus, argv=(), env={}, seconds_to_ready=None, log=None, prefix_cache=prefix_cache)
    return Target(server=described, trees=(), versions=host.versions(), python=python, env=profile.environment,
                  cwd=prepare.serve_logs(layout), trial=trial)
