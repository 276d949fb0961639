"""One pair of a kernel's A/B: both arms in this process, checked and then timed together.

    python -m tunefork.bench.ab.kernel_worker PLAN PAIR OUT FOREIGN
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.files import write_atomically
from tunefork.bench.kernels import cases, peers
from tunefork.bench.kernels.measure import PEER_TOLERANCE, TOLERANCE
from tunefork.bench.kernels.timing import compare
from tunefork.bench.machine.host import host
from tunefork.kernels import moe_a16w4, mxfp4
from tunefork.kernels.moe_a16w4 import fused_moe, make_workspace
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

CPU_EXPERTS, CPU_CALLS = 4, 1
Inputs = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""(x (M, H) bf16, logits (M, E) bf16) of each call."""


def ours(data: Inputs, layers: Sequence[Any], config: LayerConfig | None) -> list[cases.Call]:
    """Our layer, in the configuration that the table picks or in this one."""
    space, out = make_workspace(layers[0], data[0][0].shape[0], config=config), torch.empty_like(data[0][0])
    return [partial(fused_moe, *one, layers[number % len(layers)], out=out, workspace=space, config=config) for number, one in enumerate(data)]


def calls(arm: str, data: Inputs, plain: cases.Plain, layers: Sequence[Any]) -> tuple[list[cases.Call], float]:
    """An arm's calls and the relative error that it may have. BadInput where nothing here is called that."""
    if arm == "shipped" or arm.startswith("{"):
        if not layers:
            raise BadInput("our kernels run on a GPU: the CPU timer has nothing to time of them", "--a torch --b reference")
        return ours(data, layers, None if arm == "shipped" else layer(json.loads(arm))), TOLERANCE
    if arm == "reference":
        return [partial(fused_moe_reference, *one, plain) for one in data], TOLERANCE
    known = peers.available(plain)
    if arm not in known:
        raise BadInput(f"no implementation is called {arm!r} here", f"shipped, a .json file, reference, {', '.join(known)}")
    return [partial(known[arm], *one) for one in data], PEER_TOLERANCE


def layer(data: Mapping[str, Any]) -> LayerConfig:
    """A configuration from its JSON."""
    try:
        return LayerConfig(**{**data, "up": GemmConfig(**data["up"]), "down": GemmConfig(**data["down"])})
    except (KeyError, TypeError) as error:
        raise BadInput(f"not a layer configuration: {type(error).__name__}: {error}", "a row's \"config\" out of kernels/moe_a16w4/configs/*.json") from None


def checked(name: str, call: cases.Call, want: torch.Tensor, most: float, tokens: int) -> float:
    """The relative error of a call; TuneforkError above ``most``."""
    error = float((call().float() - want).norm() / want.norm())
    if not error <= most:
        raise TuneforkError(f"arm {name} is wrong at M {tokens}: relative error {error:.2e}, at most {most:.0e}", "no time is taken of a wrong kernel")
    return error


def on_cpu(candidates: Mapping[str, Sequence[Callable[[], object]]], rounds: int, seed: int) -> dict[str, list[float]]:
    """Microseconds per call by round, on the clock; orders as bench/kernels/timing.compare has them."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    draw = random.Random(seed)
    for _ in range(rounds // 2):
        order = list(candidates)
        draw.shuffle(order)
        for name in (*order, *reversed(order)):
            begin = time.perf_counter()
            for call in candidates[name]:
                call()
            taken[name].append((time.perf_counter() - begin) * 1e6 / len(candidates[name]))
    return taken


def code() -> str:
    """A hash over our kernels' sources and tables: what `shipped` means may change between two pairs."""
    found = hashlib.sha256()
    for folder in (Path(moe_a16w4.__file__).parent, Path(mxfp4.__file__).parent):
        for path in sorted((*folder.rglob("*.py"), *folder.rglob("*.json"))):
            found.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def measure(plan: Mapping[str, Any], pair: int) -> dict[str, Any]:
    """Both arms on every problem."""
    gpu = plan["timer"] == "gpu"
    plain = cases.random_plain(plan["tp"], "cuda") if gpu else cases.random_plain(plan["tp"], "cpu", experts=CPU_EXPERTS)
    layers = cases.layers(plain, plan["tp"]) if gpu else []
    seed = random.Random(plan["seed"] + pair).randrange(2**31)
    us: dict[str, dict[str, list[float]]] = {}
    errors: dict[str, dict[str, float]] = {}
    for tokens in plan["tokens"]:
        problem = cases.MoeProblem(plan["tp"], tokens)
        data = cases.inputs(problem, "cuda", cases.calls(problem)) if gpu else [
            (x, logits[:, :CPU_EXPERTS].contiguous()) for x, logits in cases.inputs(problem, "cpu", CPU_CALLS)]
        want = fused_moe_reference(*data[0], plain).float()
        made = {name: calls(plan[name.lower()], data, plain, layers) for name in "AB"}
        errors[str(tokens)] = {name: checked(name, one[0], want, most, tokens) for name, (one, most) in made.items()}
        timed = {name: one for name, (one, _) in made.items()}
        us[str(tokens)] = ({name: list(one.rounds) for name, one in compare(timed, plan["rounds"], seed).items()} if gpu
                           else on_cpu(timed, plan["rounds"], seed))
    chip = torch.cuda.get_device_name() if gpu else f"CPU {host().cpu}"
    return {"chip": chip, "us": us, "errors": errors, "host": host().name, "torch": torch.__version__, "triton": triton.__version__,
            "code": code()}


def main(plan: str, pair: str, out: str, foreign: str) -> int:
    """Measure and write, or say why not."""
    try:
        found = measure(json.loads(Path(plan).read_bytes()), int(pair))
    except TuneforkError as error:
        print(f"{error.message} ({error.remedy})", file=sys.stderr)
        return 1
    write_atomically(Path(out), json.dumps({**found, "foreign": foreign}).encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
