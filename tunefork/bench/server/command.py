"""The command that starts vLLM for a profile: argument list, environment and folder, as a value that can be printed or run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base import redact
from tunefork.base.upstream_facts.vllm import MAIN
from tunefork.bench.profiles.profile import Profile

# Inherited, these would change which code runs or slow the start (no bytecode: 48 s instead of 29 s until ready).
DROPPED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONDONTWRITEBYTECODE")

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
"""What a server may listen on, and where a client on its machine reaches it."""


@dataclass(frozen=True)
class ServeCommand:
    """One `vllm serve`.

    argv: the words, no shell between.  env: variables set over the inherited ones.  unset: variables removed.
    cwd: a folder with no Python in it, since `python -m` searches it first.  served_name: the model's name in requests.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    unset: tuple[str, ...]
    cwd: Path
    host: str
    port: int
    served_name: str

    @property
    def base_url(self) -> str:
        """Where a client on this machine reaches the server."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{self.port}"

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The server's whole environment."""
        kept = {key: value for key, value in inherited.items() if key not in self.unset}
        return {**kept, **self.env}

    def inherited_settings(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """vLLM's, AITER's and the compilers' variables that come from the shell and not from the profile; no secret's value."""
        prefixes = ("VLLM_", "AITER_", "HSA_", "HIP_", "ROCR_", "TRITON_", "TORCH", "AMDGCN_")
        own = {*self.env, *self.unset}
        return redact.environment({key: inherited[key] for key in sorted(inherited) if key.startswith(prefixes) and key not in own})

    def secrets(self, inherited: Mapping[str, str]) -> frozenset[str]:
        """The secrets that the server is given."""
        return redact.values(self.argv, self.environment(inherited))

    def shell(self) -> str:
        """The same as one line for a shell, with ``<redacted>`` for secrets: it is shown and kept in logs."""
        words = ["env", *(word for name in self.unset for word in ("-u", name)),
                 *(f"{key}={value}" for key, value in redact.environment(self.env).items()), *redact.words(self.argv)]
        return f"cd {shlex.quote(str(self.cwd))} && {shlex.join(words)}"


def flags(server: Mapping[str, Any]) -> list[str]:
    """The [server] table as arguments of `vllm serve`."""
    words: list[str] = []
    for key, value in server.items():
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        elif isinstance(value, dict):
            words += [f"--{key}", json.dumps(value, separators=(",", ":"))]
        else:
            words += [f"--{key}", str(value)]
    return words


def build(
    profile: Profile,
    *,
    python: Path,
    variant_env: Mapping[str, str],
    model: str,
    cwd: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    extra: Sequence[str] = (),
) -> ServeCommand:
    """The command of a profile.

    python, variant_env: the interpreter that has the variant's vLLM, and what selects the variant there.
    model: the profile's model, or the folder of the tiny one.  extra: further `vllm serve` arguments, which win over the
    profile's.
    """
    port = profile.port if port is None else port
    argv = [str(python), "-m", MAIN, "serve", model, "--served-model-name", profile.served_name,
            "--host", host, "--port", str(port), *flags(profile.server), *extra]
    # The profile may not undo what selects the variant.
    env = {**profile.environment, **variant_env}
    return ServeCommand(
        argv=tuple(argv),
        env=env,
        unset=tuple(name for name in DROPPED if name not in env),
        cwd=cwd,
        host=host,
        port=port,
        served_name=profile.served_name,
    )
