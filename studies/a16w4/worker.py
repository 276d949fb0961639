"""Runs cases against one AITER tree in a process of its own: ``python -m studies.a16w4.worker TREE OUT < jobs.json``.

A job is ``{"case": {...}, "execute": bool}``. ``OUT/results.json`` gets a list of results in the words of sides.Result, ``OUT/<number>.pt`` the
values that an executed job made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from studies.a16w4.case import Case, Inputs, empty, filled
from studies.a16w4.facts import read
from studies.a16w4.tree import load
from tunefork.kernels.amdgcn.driver import Device, on_gfx950
from tunefork.kernels.amdgcn.errors import ExecutionError
from tunefork.kernels.amdgcn.executor.launch import Launch
from tunefork.kernels.amdgcn.executor.machine.global_memory import Buffer

ALPHA, LIMIT = 1.702, 7.0
CONFIG = ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M", "SPLIT_K", "EVEN_K", "MASK_K_LIMIT", "num_warps", "num_stages")


@dataclass
class Recorder:
    """Stands before AITER's kernel: keeps what it was launched with, and launches it or only compiles it."""

    kernel: Any
    execute: bool
    grid: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    compiled: Any = None

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*values: Any, **named: Any) -> None:
            given = dict(zip(self.kernel.arg_names, values, strict=False)) | named
            self.grid = grid[0]
            self.config = {name.lower(): given[name] for name in CONFIG if name in given}
            self.compiled = self.kernel.warmup(*values, grid=grid, **named)
            if self.execute:
                self.kernel[grid](*values, **named)

        return launch


def call(module: Any, case: Case, inputs: Inputs) -> torch.Tensor:
    """AITER's launcher with a case's inputs."""
    pick = module.get_kernel_config
    module.get_kernel_config = lambda *values, **named: pick(*values, **named) | case.force
    try:
        y: torch.Tensor = module.moe_gemm_a16w4(
            inputs.x,
            inputs.w,
            None,
            inputs.scales,
            bias=inputs.bias,
            routing_data=inputs.routing,
            gather_indx=inputs.gather,
            scatter_indx=inputs.scatter,
            gammas=inputs.gammas,
            swizzle_mx_scale=case.swizzle,
            apply_swiglu=case.gate_up,
            alpha=ALPHA,
            limit=LIMIT,
            unpadded_N=case.n if case.pad and case.told else None,
            unpadded_K=case.k if case.pad and case.told else None,
        )
        return y
    finally:
        module.get_kernel_config = pick


def measure(module: Any, routing: ModuleType, case: Case, device: Device, *, execute: bool, to: Path) -> dict[str, Any]:
    """One job's result, in the words of sides.Result; an executed one's values go to the file ``to``."""
    kernel, reduce_grouped = module._moe_gemm_a16w4, module.reduce_grouped
    recorder = Recorder(kernel, execute)
    module._moe_gemm_a16w4 = recorder
    if not execute:
        module.reduce_grouped = lambda *_, **__: torch.empty(0)
    inputs = filled(case, routing, ALPHA, LIMIT) if execute else empty(case, routing)
    first, fault = len(device.launches), ""
    try:
        y = call(module, case, inputs)
    except ExecutionError as error:
        fault = error.message
    finally:
        module._moe_gemm_a16w4, module.reduce_grouped = kernel, reduce_grouped
    result: dict[str, Any] = {"config": recorder.config | {"grid": recorder.grid}, "fault": fault}
    result["facts"] = read(recorder.compiled, recorder.config) if recorder.compiled else {}
    if execute and not fault:
        result |= outcome(case, inputs, y, [item.launch for item in device.launches[first:]], to)
    return result


def outcome(case: Case, inputs: Inputs, y: torch.Tensor, launches: Sequence[Launch], to: Path) -> dict[str, Any]:
    """What the execution gave and moved."""
    columns = case.n // 2 if case.gate_up else case.n
    ours, expected = y[:, :columns].float(), inputs.expected
    assert expected is not None
    torch.save(ours, to)
    x, w = (buffer_of(launches[0], tensor) for tensor in (inputs.x, inputs.w))
    return {
        "error": float(((ours - expected).abs().max() / expected.square().mean().sqrt()).nan_to_num(float("inf"))),
        "launches": len(launches),
        "executed": sum(launch.instructions for launch in launches),
        "x_bytes": x.loaded,
        "w_bytes": w.loaded,
        "w_unique": w.loaded_unique(),
    }


def buffer_of(launch: Launch, tensor: torch.Tensor) -> Buffer:
    """The executor's buffer that a tensor is."""
    return next(buffer for buffer in launch.buffers if buffer.base == tensor.untyped_storage().data_ptr())


def main() -> None:
    tree, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.use_deterministic_algorithms(True)  # fills what is allocated with NaN: a column that no kernel writes shows
    with on_gfx950(track_touched=True) as device:
        module, routing = load(tree, "moe.moe_op_gemm_a16w4"), load(tree, "moe.moe_routing.routing")
        results = []
        for number, job in enumerate(json.load(sys.stdin)):
            case = Case(**job["case"])
            results.append(measure(module, routing, case, device, execute=job["execute"], to=out / f"{number}.pt"))
    (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
