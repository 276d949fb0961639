"""`serve`: the installed, patched vLLM in the foreground, until Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

from tunefork.base import redact
from tunefork.base.layout import Layout
from tunefork.base.upstream_facts.vllm import COMPLETIONS
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles.profile import TINY, Profile
from tunefork.bench.server import command, prepare
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.server import Server
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say
from tunefork.patchset.checkout.applied import applied_tree
from tunefork.patchset.checkout.running import running_from

EXAMPLE_PROMPT = "This is a story of"


@click.command(epilog="Exit codes: 0 stopped by Ctrl-C or SIGTERM once it was ready, 2 bad profile or option, 6 not for this install, 9 the server did not "
                      "start, answer or stop, 130 stopped before it was ready.")
@options.profile(f"{', '.join(profiles.names())}, or a TOML file of the same form.", "name")
@options.variant()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@options.port(envvar="TUNEFORK_PORT", show_envvar=True)
@options.tp()
@options.model("Serve these weights instead of the profile's.")
@options.ready_timeout()
@options.server_log(envvar="SERVER_LOG", show_envvar=True)
@options.dry_run("Print the command and its environment; needs no vLLM and no GPU.")
@options.as_json("Print what is served (or the dry run) as JSON.")
@options.vllm_arguments()
def serve(
    name: str, variant: str | None, host: str, port: int | None, tp: int | None, model: str | None,
    ready_timeout_s: float | None, server_log: str | None, dry_run: bool, as_json: bool, extra: tuple[str, ...],
) -> int:
    """Serve a profile's model with the installed vLLM, in the foreground, until Ctrl-C.

    The smoke profile makes a tiny GPT-OSS on this machine first (once; a minute or two). Arguments after `--` go to `vllm serve` and
    win over the profile's. Stopping ends every process of the server; a second Ctrl-C does so at once. The log of each start is kept
    in work/logs/serve/.

    \b
    python3 build.py serve                                    a server that answers, on any machine
    python3 build.py serve --variant base --port 8001         the unpatched vLLM beside it
    python3 build.py serve --profile stage2 --tp 4 --dry-run  the MI355X command, to read or to paste
    python3 build.py serve -- --max-num-seqs 4                further vLLM arguments
    """
    layout = Layout.here()
    profile = profiles.load(name)
    for one in profile.differences:
        say(f"{profile.name} differs from its base: {one}")
    if tp is not None:
        profile = profile.with_tensor_parallel(tp)
    if dry_run:
        show(dry(layout, profile, variant, host=host, port=port, model=model, extra=extra), as_json=as_json)
        return 0
    return run(layout, profile, variant, host=host, port=port, model=model, extra=extra,
               ready_timeout_s=ready_timeout_s or profile.ready_timeout_s, server_log=server_log, as_json=as_json)


def run(layout: Layout, profile: Profile, variant: str | None, *, ready_timeout_s: float, server_log: str | None, as_json: bool,
        **options: Any) -> int:
    """Start, tell, wait, stop."""
    from tunefork.develop.installed import installed_target
    from tunefork.develop.variants import environment

    on_signal(stop_like_ctrl_c)
    if (target := installed_target()) is not None:
        prepare.check_target(profile, target)  # before a variant is applied beside
    env = environment(layout, variant, say)
    made = prepare.serve_command(layout, profile, env, say=say, **options)
    for key, value in made.inherited_settings(os.environ).items():
        say(f"from your shell, not from the profile: {key}={value}")
    log = prepare.log_path(layout, profile, env.tree.variant, server_log)
    say(f"starting vLLM {env.version} ({env.tree.variant}) for profile {profile.name}; log: {log}")
    server = Server(made, log=log, ready_timeout_s=ready_timeout_s, say=say)
    with running_from(layout, env.tree.path), server:
        tell_ready(server, env.tree.variant, env.version, as_json=as_json)
        try:
            server.wait()
        except KeyboardInterrupt:
            say("stopping (Ctrl-C again kills at once)")
    stopped = server.stop()
    forced = f", {stopped.killed} had to be killed" if stopped.killed else ""
    say(f"stopped in {stopped.seconds:.1f} s: no process left{forced}, port {made.port} free")
    return 0


def tell_ready(server: Server, variant: str, version: str, *, as_json: bool) -> None:
    """One line, and one to try it with."""
    made = server.command
    if as_json:
        print_json({"base_url": server.base_url, "model": made.served_name, "variant": variant, "version": version,
                    "pid": server.pid, "log": server.log, "seconds_to_ready": round(server.seconds_to_ready, 2)})
        sys.stdout.flush()
    else:
        say(f"ready: {server.base_url}  model {made.served_name}  variant {variant}  vllm {version}  "
            f"({server.seconds_to_ready:.0f} s)")
    body = json.dumps({"model": made.served_name, "prompt": EXAMPLE_PROMPT, "max_tokens": 32, "temperature": 0})
    say(f"  try: curl {server.base_url}{COMPLETIONS} -H 'Content-Type: application/json' -d {shlex.quote(body)}")


def dry(layout: Layout, profile: Profile, variant: str | None, *, host: str, port: int | None, model: str | None,
        extra: tuple[str, ...]) -> ServeCommand:
    """The command without starting, making or installing anything."""
    prepare.check_extra(extra)
    if applied_tree(layout, "vllm") is None:
        say("vLLM is not applied here; the command is that of this interpreter after `build.py apply` and `build.py develop`")
    model = model or profile.model
    if model == TINY:
        model = str(newest_tiny(layout.cache / "models"))
    return command.build(profile, python=Path(sys.executable), variant_env=prepare.planned_environment(layout, variant),
                         model=model, cwd=prepare.serve_logs(layout), host=host, port=port, extra=extra)  # fmt: skip


def newest_tiny(models: Path) -> Path:
    """The tiny model that a start here made last; a name for it before the first."""
    made = [path for path in models.glob("tiny-*") if path.is_dir()]
    return max(made, key=lambda path: path.stat().st_mtime, default=models / "tiny")


def show(made: ServeCommand, *, as_json: bool) -> None:
    """A dry run: one line to paste, or its parts."""
    inherited = made.inherited_settings(os.environ)
    if as_json:
        print_json({"argv": redact.words(made.argv), "env": redact.environment(made.env), "unset": made.unset, "cwd": made.cwd, "base_url": made.base_url,
                    "model": made.served_name, "inherited": inherited})
        return
    for key, value in inherited.items():
        say(f"from your shell, not from the profile: {key}={value}")
    echo(made.shell())


def on_signal(handler: Callable[[int, FrameType | None], None]) -> None:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does; and Ctrl-C too where a script's `&` had it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
        signal.signal(signal.SIGHUP, handler)


def stop_like_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
