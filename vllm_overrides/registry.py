"""The overrides by name, and the three steps that every process takes: collect -> check -> apply.

Another package adds one through ``OVERRIDES``: name -> module; the module has a function ``override(environ) -> Override``.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tunefork.base.upstream_facts.vllm import RELEASE
from vllm_overrides.compile_cache import tell
from vllm_overrides.errors import OverrideError

OVERRIDES = {
    "capture_plan": "vllm_overrides.capture.override",
    "decode_step": "vllm_overrides.decode_step",
    "guards": "vllm_overrides.guards",
    "moe_a16w4": "vllm_overrides.moe_a16w4",
    "random_mxfp4": "vllm_overrides.random_mxfp4",
}

# Releases whose source each override was written against; a local version (0.33.0+p1234.cpu) is the same release.
TESTED = (RELEASE,)


@dataclass(frozen=True)
class Change:
    """One thing that an override put in another's place, as the log shows it."""

    target: str
    old: str
    new: str


class Override(Protocol):
    """What a module of ``OVERRIDES`` returns: its settings are read, nothing is changed yet."""

    name: str

    def targets(self) -> Sequence[str]:
        """What ``apply`` will replace, by qualified name. Raises OverrideError where vLLM has no such thing."""

    def apply(self) -> Sequence[Change]:
        """Make the changes that are not made yet, and return them: a second call returns none."""


class Log(Protocol):
    """The part of vLLM's logger that is used."""

    def info(self, text: str, *args: object) -> None: ...

    def warning(self, text: str, *args: object) -> None: ...


def vllm_log() -> Log:
    """vLLM's logger. The name lies below ``vllm``, because only that tree has handlers."""
    from vllm.logger import init_logger

    log: Log = init_logger("vllm.tunefork_overrides")
    return log


def require_kernels(override: str, op: str) -> None:
    """OverrideError where tunefork.kernels.<op> is not installed beside the plugin."""
    try:
        importlib.import_module(f"tunefork.kernels.{op}")
    except ImportError as error:
        raise OverrideError(
            f"{override} needs tunefork.kernels, which cannot be imported here: {error}",
            "pip install -e '<tunefork>[kernels]' into the environment that serves",
        ) from None


def apply_named(asked: str, environ: Mapping[str, str]) -> None:
    """Apply the overrides named in ``asked``, a comma-separated list, and log each change once in this process.

    Raises:
        OverrideError: an unknown name, an untested vLLM, two overrides of one target, or a target that does not exist.
    """
    log = vllm_log()
    overrides = collect(asked, environ)
    check(overrides, environ, log)
    for override in overrides:
        for change in override.apply():
            log.info("%s: %s: %s -> %s", override.name, change.target, change.old, change.new)
    tell([override.name for override in overrides])


def collect(asked: str, environ: Mapping[str, str]) -> list[Override]:
    """The overrides of a comma-separated list of names, in that order, each once."""
    names = list(dict.fromkeys(word.strip() for word in asked.split(",") if word.strip()))
    if not names:
        raise OverrideError(f"TUNEFORK_OVERRIDES={asked!r} names no override", f"one or more of {', '.join(OVERRIDES)}")
    for name in names:
        if name not in OVERRIDES:
            raise OverrideError(f"TUNEFORK_OVERRIDES names {name!r}, which is no override", f"one or more of {', '.join(OVERRIDES)}")
    return [importlib.import_module(OVERRIDES[name]).override(environ) for name in names]


def check(overrides: Sequence[Override], environ: Mapping[str, str], log: Log) -> None:
    """Refuse an untested vLLM, and two overrides of one target; finding the targets refuses what vLLM does not have."""
    from vllm import __version__ as version

    if version.partition("+")[0] not in TESTED:
        names = ", ".join(override.name for override in overrides)
        if environ.get("TUNEFORK_OVERRIDES_ANY_VERSION") != "1":
            raise OverrideError(
                f"{names}: tested with vLLM {', '.join(TESTED)}, this is {version}",
                "TUNEFORK_OVERRIDES_ANY_VERSION=1 applies them all the same",
            )
        log.warning("%s: tested with vLLM %s, applied to %s as asked", names, ", ".join(TESTED), version)
    owner: dict[str, str] = {}
    for override in overrides:
        for target in override.targets():
            if target in owner:
                raise OverrideError(
                    f"{owner[target]} and {override.name} both replace {target}",
                    f"name one of them in TUNEFORK_OVERRIDES: {owner[target]} or {override.name}",
                )
            owner[target] = override.name
