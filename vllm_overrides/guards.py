"""The override `guards`: says at start which environment names do nothing in the pinned vLLM, and where AITER's MoE changes its numerics.

It changes nothing. The names and what they do are facts of tunefork/base/upstream_facts.

Remove when: vLLM explains names that it once had, and AITER's bound is a flag of vLLM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tunefork.base.upstream_facts.aiter import BF16_BOUND, BF16_BOUND_DEFAULT
from tunefork.base.upstream_facts.vllm import READ_ELSEWHERE, WITHOUT_EFFECT
from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change, vllm_log


def override(environ: Mapping[str, str]) -> Guards:
    return Guards(environ)


@dataclass(frozen=True)
class Guards:
    """environ: the environment to judge."""

    environ: Mapping[str, str]
    name: str = "guards"

    def targets(self) -> Sequence[str]:
        bound(self.environ)
        return ()

    def apply(self) -> Sequence[Change]:
        """Log what there is to say. There is nothing to undo and nothing to repeat: vLLM loads plugins once per process."""
        from vllm import envs

        log = vllm_log()
        for name, why in dead_names(self.environ, envs.environment_variables):
            log.warning("guards: %s has no effect: %s", name, why)
        log.info("guards: %s", bound_says(bound(self.environ)))
        return ()


def dead_names(environ: Mapping[str, str], known: Iterable[str]) -> list[tuple[str, str]]:
    """(name, why) of every VLLM_* name that is set and does nothing, builds included. known: the names that this vLLM's envs.py has."""
    known = set(known)
    found = []
    for name in sorted(environ):
        if name in WITHOUT_EFFECT:
            found.append((name, WITHOUT_EFFECT[name]))
        elif name.startswith("VLLM_") and name not in known and name not in READ_ELSEWHERE:
            near = get_close_matches(name, known, n=1)
            found.append((name, "not a variable of this vLLM" + (f"; {near[0]} is" if near else "")))
    return found


def bound(environ: Mapping[str, str]) -> int:
    """The rows from which on AITER takes fp8 activations.

    Raises:
        OverrideError: no whole number; AITER would stop at it in the first MoE layer, after the weights are loaded.
    """
    text = environ.get(BF16_BOUND, str(BF16_BOUND_DEFAULT))
    try:
        return int(text)
    except ValueError:
        raise OverrideError(f"{BF16_BOUND} must be a whole number of rows, got {text!r}", f"unset it for {BF16_BOUND_DEFAULT}") from None


def bound_says(rows: int) -> str:
    """What a bound means, in one line."""
    where = "every step" if rows <= 1 else f"steps of {rows} rows and more"
    return (
        f"on gfx950 with AITER's MXFP4 MoE, {where} use fp8 activations (A8W4){'' if rows <= 1 else ', smaller ones bf16 (A16W4)'}: "
        f"prefill and decode may differ in accuracy. {BF16_BOUND} moves the bound"
    )
