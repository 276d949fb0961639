"""The override `guards`: says at start which environment names do nothing in vLLM 0.33.0, and where AITER's MoE changes its numerics.

It changes nothing. Names and behaviour were read in the sources of vLLM 0.33.0 and AITER 0.1.20.post1.

Remove when: vLLM explains names that it once had, and AITER's bound is a flag of vLLM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change, vllm_log

UNIFIED = "the unified attention kernel is chosen by --attention-backend ROCM_AITER_UNIFIED_ATTN"

# Names that guides set, and that have no effect in 0.33.0.
DEAD = {
    "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4": "not a variable of 0.33.0: AITER's MoE takes bf16 activations by itself, below the "
    "bound that is logged here",
    "VLLM_USE_AITER_UNIFIED_ATTENTION": f"not a variable of 0.33.0: {UNIFIED}",
    "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": f"0.33.0 reads it, but nothing asks for the value: {UNIFIED}",
}

BOUND = "AITER_BF16_FP8_MOE_BOUND"
BOUND_DEFAULT = 256  # aiter/fused_moe.py


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
    """(name, why) of every VLLM_* name that is set and does nothing. known: the names that this vLLM reads."""
    known = set(known)
    found = []
    for name in sorted(environ):
        if name in DEAD:
            found.append((name, DEAD[name]))
        elif name.startswith("VLLM_") and name not in known:
            near = get_close_matches(name, known, n=1)
            found.append((name, "not a variable of this vLLM" + (f"; {near[0]} is" if near else "")))
    return found


def bound(environ: Mapping[str, str]) -> int:
    """The rows from which on AITER takes fp8 activations.

    Raises:
        OverrideError: no whole number; AITER would stop at it in the first MoE layer, after the weights are loaded.
    """
    text = environ.get(BOUND, str(BOUND_DEFAULT))
    try:
        return int(text)
    except ValueError:
        raise OverrideError(f"{BOUND} must be a whole number of rows, got {text!r}", f"unset it for {BOUND_DEFAULT}") from None


def bound_says(rows: int) -> str:
    """What a bound means, in one line."""
    where = "every step" if rows <= 1 else f"steps of {rows} rows and more"
    return (
        f"on gfx950 with AITER's MXFP4 MoE, {where} use fp8 activations (A8W4){'' if rows <= 1 else ', smaller ones bf16 (A16W4)'}: "
        f"prefill and decode may differ in accuracy. {BOUND} moves the bound"
    )
