"""What is compared: arms as data, each said by what it adds to the same server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studies.fullsize import warps
from tunefork.base.upstream_facts.vllm import MAIN
from tunefork.bench.machine.devices import variables
from tunefork.bench.profiles.profile import load
from tunefork.bench.server.command import DROPPED, ServeCommand

SERVED = "gpt-oss-random"
PLAN = "conc=4,16,32;osl=128"
PRICED = f"{PLAN};cost={Path(__file__).parent / 'steps_h200.json'}"
# What every arm's server has. TRITON_ATTN, unless another is asked for: the attention that a pruned wheel has code for; the cache's size is fixed,
# so that every arm has the same.
ATTENTION = "TRITON_ATTN"
FLAGS = ("--load-format", "random_mxfp4", "--max-model-len", "8448", "--max-num-seqs", "64",
         "--max-num-batched-tokens", "4096", "--no-enable-prefix-caching")  # fmt: skip
ENVIRONMENT = {"VLLM_USE_FLASHINFER_SAMPLER": "0", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}


@dataclass(frozen=True)
class Arm:
    """why: in a table.  overrides: of TUNEFORK_OVERRIDES.  flags: further words of `vllm serve`."""

    why: str
    overrides: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


def guide(*keys: str) -> tuple[str, ...]:
    """Lists of sizes of the competition's quick-start guide (profiles/seed.toml), as flags."""
    lists = load("seed").server["compilation-config"]
    return tuple(word for key in keys for word in (f"-cc.{key}={lists[key]}".replace(" ", ""),))


ARMS = {
    "A": Arm("as shipped"),
    "B": Arm("moe_a16w4", ("moe_a16w4",)),
    "F": Arm("moe_a16w4 and decode_step", ("moe_a16w4", "decode_step")),
    "C": Arm("capture_plan", ("capture_plan",), env={"TUNEFORK_CAPTURE_PLAN": PLAN}),
    "D": Arm("moe_a16w4 and capture_plan", ("moe_a16w4", "capture_plan"), env={"TUNEFORK_CAPTURE_PLAN": PLAN}),
    "K": Arm("capture_plan, steps priced: prefill has graphs", ("capture_plan",), env={"TUNEFORK_CAPTURE_PLAN": PRICED}),
    "L": Arm("moe_a16w4 and the priced plan", ("moe_a16w4", "capture_plan"), env={"TUNEFORK_CAPTURE_PLAN": PRICED}),
    "P": Arm("capture_plan, its sizes compiled", ("capture_plan",), ("-cc.compile_sizes=[4,16,32]",), {"TUNEFORK_CAPTURE_PLAN": PLAN}),
    "G": Arm("the guide's capture list", flags=guide("cudagraph_capture_sizes")),
    "T": Arm("triton_kernels with 4 warps", env={warps.VARIABLE: "4"}),
    "M": Arm("Marlin", flags=("--moe-backend", "marlin")),
    "U": Arm("Humming", flags=("--moe-backend", "humming")),
    "H": Arm("the guide's capture list and its compile_sizes", flags=guide("cudagraph_capture_sizes", "compile_sizes")),
}


def command(name: str, model: Path, *, python: str, gpu: int, port: int, cwd: Path, pythonpath: str, utilization: float, kv_gib: float,
            attention: str = ATTENTION, extra: Sequence[str] = ()) -> ServeCommand:
    """The server of an arm on one GPU. pythonpath: where vLLM, its dependencies and Tunefork lie. attention: a backend's name, or auto: vLLM's choice."""
    arm = ARMS[name]
    argv = (python, "-m", MAIN, "serve", str(model), "--served-model-name", SERVED, "--host", "127.0.0.1", "--port", str(port),
            *FLAGS, *(("--attention-backend", attention) if attention != "auto" else ()), "--gpu-memory-utilization", str(utilization),
            "--kv-cache-memory-bytes", str(int(kv_gib * 2**30)), *arm.flags, *extra)  # fmt: skip
    env = {**ENVIRONMENT, **arm.env, "TUNEFORK_OVERRIDES": ",".join(("random_mxfp4", *arm.overrides)), **variables((str(gpu),)),
           "PYTHONPATH": pythonpath}  # fmt: skip
    return ServeCommand(argv, env, tuple(one for one in DROPPED if one not in env), cwd, "127.0.0.1", port, SERVED)
