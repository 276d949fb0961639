"""From a profile and an installed variant to a command that can start: what must exist first is made, what cannot work is refused."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunefork.base import jsons, ports
from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.typed import typed
from tunefork.bench.checkpoint.quick import refuse
from tunefork.bench.profiles.profile import TINY, Profile
from tunefork.bench.server import command
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.config_file import check_config_files
from tunefork.bench.server.tiny.make import tiny_model
from tunefork.patchset.checkout.applied import applied_tree

if TYPE_CHECKING:
    from tunefork.develop.variants import VariantEnvironment

OWN_OPTIONS = {"--host": "--host", "--port": "--port", "--served-model-name": "the profile's served_name"}


def check_extra(extra: Sequence[str]) -> None:
    """Refuse further vLLM arguments that would part the server from what we believe of it."""
    for word in extra:
        if (name := word.split("=", 1)[0].replace("_", "-")) in OWN_OPTIONS:
            raise BadInput(f"{name} after `--` would go past Tunefork, which must know where and as what it serves",
                           f"use {OWN_OPTIONS[name]}, before the `--`")
    check_config_files(extra)


def check_target(profile: Profile, target: str) -> None:
    """Refuse a profile on an install that cannot serve it."""
    if target not in profile.targets:
        wanted = profile.targets[0]
        raise MissingTool(f"profile {profile.name} is served by an install for {' or '.join(profile.targets)}; this one is "
                          f"for {target}", f"--profile smoke serves anywhere; `python3 build.py develop --target {wanted}` where {wanted} is")


def check_operators(layout: Layout, target: str, model: str) -> None:
    """Refuse a model on this disk that would call a CPU operator of another version than this vLLM's."""
    from tunefork.develop import operator_schemas

    config = Path(model) / "config.json"
    wheel, changed = operator_schemas.recorded(layout.checkout("vllm"))
    if target != "cpu" or not changed or not config.is_file():
        return
    try:
        read = jsons.loads(config.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{config} is no configuration of a model: {error}", f"python3 build.py checkpoint check {typed(config.parent)}") from None
    if called := [name for name in operator_schemas.met(read if isinstance(read, dict) else {}) if name in changed]:
        raise BadInput(f"{model} would call {' and '.join(called)}, which {'takes' if len(called) == 1 else 'take'} other arguments in {wheel} "
                       "than this vLLM gives", "serve an unquantised model on target cpu, such as --profile smoke's")


def serve_command(
    layout: Layout,
    profile: Profile,
    environment: VariantEnvironment,
    *,
    say: Say,
    host: str = "127.0.0.1",
    port: int | None = None,
    model: str | None = None,
    extra: Sequence[str] = (),
) -> ServeCommand:
    """The command that starts this profile with this variant. port: None is the profile's, 0 any free one.

    model: None is the profile's; "tiny" is made here first. The port is checked before that takes time.
    """
    check_extra(extra)
    check_target(profile, environment.target)
    port = ports.free_port(host) if port == 0 else port or profile.port
    ports.require_free(host, port)
    model = model or profile.model
    if model == TINY:
        model = str(tiny_model(layout, environment.python, say))
    check_operators(layout, environment.target, model)
    refuse(Path(model), say)
    return command.build(profile, python=environment.python, variant_env=environment.env, model=model,
                         cwd=serve_logs(layout), host=host, port=port, extra=extra)  # fmt: skip


def planned_environment(layout: Layout, variant: str | None) -> dict[str, str]:
    """What will select a variant (tunefork/develop/variants.py), without applying or installing it."""
    from tunefork.patchset.series.series import Series
    from tunefork.patchset.series.variant import choose

    primary = applied_tree(layout, "vllm")
    if variant is None or primary is None:
        return {}
    chosen = choose(variant, Series.load("vllm", layout.series_dir("vllm")))
    return {} if chosen.spec == primary.variant else {"PYTHONPATH": str(layout.checkout("vllm", chosen.slug))}


def serve_logs(layout: Layout) -> Path:
    """The servers' logs, and their working folder: it holds nothing that Python could import."""
    return layout.logs / "serve"


def log_path(layout: Layout, profile: Profile, variant: str, given: str | None = None) -> Path:
    """A new log for one server start; or the file that was asked for (SERVER_LOG), to which each start adds."""
    if given:
        path = Path(given).expanduser().absolute()
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise BadInput(f"--server-log {given}: expected a file that can be written", "unset SERVER_LOG, or name a file in a folder of yours")
        return path
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", variant)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return serve_logs(layout) / f"{profile.name}-{slug}-{stamp}-{os.getpid()}.log"
