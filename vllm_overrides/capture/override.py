"""The override `capture_plan`: CUDA graph sizes and compile sizes for a workload, in place of GPT-OSS's fixed 83.

TUNEFORK_CAPTURE_PLAN says the workload, or names a file that holds the plan:

    conc=4,8,16;isl=1024;osl=1024      planned at start with the server's own limits (capture/options.py lists the options)
    plan.json                          what `plan-sizes --json` printed

vLLM lets each architecture adjust the configuration (``MODELS_CONFIG_MAP``); the plan is put there, before vLLM's own adjustment, in the
process that makes the configuration. Flags that the user gave win.

Remove when: vLLM chooses capture sizes by expected batch sizes itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from tunefork.base.upstream_facts.vllm import ARCHITECTURE, PLUGINS
from vllm_overrides.capture.options import parse
from vllm_overrides.capture.plan import make_plan, read_plan
from vllm_overrides.capture.rules import Limits, check_compile_sizes, settle
from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change, vllm_log

TARGET = f"vllm.model_executor.models.config.MODELS_CONFIG_MAP[{ARCHITECTURE!r}]"
MARK = "tunefork_capture_plan"  # the class that we put there carries the specification under this name


def override(environ: Mapping[str, str]) -> CapturePlan:
    """The override, with its workload from the environment."""
    spec = environ.get("TUNEFORK_CAPTURE_PLAN", "").strip()
    if not spec:
        raise OverrideError(
            "capture_plan is enabled, but TUNEFORK_CAPTURE_PLAN does not say for which workload",
            "TUNEFORK_CAPTURE_PLAN='conc=4,8,16;isl=1024;osl=1024', or a file from `plan-sizes --json`",
        )
    if not is_file(spec):
        parse(spec, Limits())  # what is misspelt is said now, in every process
    elif not Path(spec).is_file():
        raise OverrideError(f"TUNEFORK_CAPTURE_PLAN names {spec}, which does not exist", f"build.py plan-sizes ... --json > {quote(spec)}")
    return CapturePlan(spec)


def is_file(spec: str) -> bool:
    """Whether a specification is a path, rather than options, of which the last may name a file too (cost=steps.json)."""
    return Path(spec).is_file() or ("=" not in spec and spec.endswith(".json"))


@dataclass(frozen=True)
class CapturePlan:
    """spec: what TUNEFORK_CAPTURE_PLAN says."""

    spec: str
    name: str = "capture_plan"

    def targets(self) -> Sequence[str]:
        hook = hooks().get(ARCHITECTURE)
        if hook is None:
            raise OverrideError(f"capture_plan matches nothing: this vLLM has no {TARGET}", "take capture_plan out of TUNEFORK_OVERRIDES")
        if not hasattr(hook, MARK) and not hook.__module__.startswith("vllm."):
            raise OverrideError(
                f"capture_plan and {hook.__module__}.{hook.__qualname__} both replace {TARGET}",
                f"take capture_plan out of TUNEFORK_OVERRIDES, or the plugin that holds {hook.__module__} out of {PLUGINS}",
            )
        return (TARGET,)

    def apply(self) -> Sequence[Change]:
        """Put our hook before vLLM's. A second call finds it there and changes nothing."""
        hook = hooks()[ARCHITECTURE]
        if hasattr(hook, MARK):
            return ()
        ours = before(hook, self.spec)
        hooks()[ARCHITECTURE] = ours
        return (Change(TARGET, hook.__qualname__, f"{ours.__qualname__} ({self.spec})"),)


def hooks() -> dict[str, type[Any]]:
    """vLLM's adjustments by architecture."""
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP

    found: dict[str, type[Any]] = MODELS_CONFIG_MAP
    return found


def before(hook: type[Any], spec: str) -> type[Any]:
    """A hook that sets the plan's sizes and then does what ``hook`` does (which leaves sizes alone that are set)."""

    class PlannedGptOssConfig(hook):  # type: ignore[misc]
        @staticmethod
        def verify_and_update_config(vllm_config: Any) -> None:
            log = vllm_log()
            for change in set_sizes(vllm_config, spec):
                log.info("capture_plan: %s: %s -> %s", change.target, change.old, change.new)
            hook.verify_and_update_config(vllm_config)

    setattr(PlannedGptOssConfig, MARK, spec)
    PlannedGptOssConfig.__qualname__ = "PlannedGptOssConfig"
    return PlannedGptOssConfig


def set_sizes(vllm_config: Any, spec: str) -> list[Change]:
    """Write the plan into ``vllm_config.compilation_config``, but for what the user set; say which.

    Raises:
        OverrideError: no CUDA graphs are to be captured, or the plan does not fit this server.
    """
    config = vllm_config.compilation_config
    no_graphs = why_no_graphs(vllm_config)
    if no_graphs:
        raise OverrideError(f"capture_plan matches nothing: {no_graphs}", "take capture_plan out of TUNEFORK_OVERRIDES")
    if config.cudagraph_capture_sizes is not None or config.max_cudagraph_capture_size is not None:
        vllm_log().warning(
            "capture_plan: nothing set, your flags win: cudagraph_capture_sizes=%s, max_cudagraph_capture_size=%s",
            config.cudagraph_capture_sizes,
            config.max_cudagraph_capture_size,
        )
        return []
    sizes, compiled = planned(spec, limits_of(vllm_config), tp=vllm_config.parallel_config.tensor_parallel_size)
    wanted: dict[str, Any] = {"cudagraph_capture_sizes": list(sizes), "max_cudagraph_capture_size": sizes[-1]}
    if config.compile_sizes is None:
        wanted["compile_sizes"] = list(compiled)
    else:
        vllm_log().warning("capture_plan: compile_sizes=%s stays, your flag wins", config.compile_sizes)
        numbers = [size for size in config.compile_sizes if isinstance(size, int)]
        check_compile_sizes(numbers, settle(sizes, limits_of(vllm_config)))
    changes = [Change(f"compilation_config.{name}", str(getattr(config, name)), str(value)) for name, value in wanted.items()]
    for name, value in wanted.items():
        setattr(config, name, value)
    return changes


def why_no_graphs(vllm_config: Any) -> str:
    """Why this server captures no CUDA graphs; empty where it does."""
    from vllm.platforms import current_platform

    mode = vllm_config.compilation_config.cudagraph_mode
    if vllm_config.model_config.enforce_eager:
        return "--enforce-eager captures no CUDA graphs"
    if mode is not None and mode.name == "NONE":
        return "cudagraph_mode is NONE"
    if not current_platform.support_static_graph_mode():
        return f"the platform {current_platform.device_name!r} has no CUDA graphs"
    return ""


def limits_of(vllm_config: Any) -> Limits:
    """The server's limits of a step."""
    scheduler = vllm_config.scheduler_config
    return Limits(scheduler.max_num_seqs, scheduler.max_num_batched_tokens, vllm_config.num_speculative_tokens)


def planned(spec: str, limits: Limits, *, tp: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(capture sizes, compile sizes) of a specification, for this server."""
    plan = read_plan(Path(spec), limits) if is_file(spec) else make_plan(parse(f"tp={tp};{spec}", limits))
    for note in plan.notes:
        vllm_log().info("capture_plan: %s", note)
    return plan.sizes, plan.compile_sizes
