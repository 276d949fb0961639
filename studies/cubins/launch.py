"""A pack's layers as calls that `tunefork.bench.kernels.timing` can time: the same buffers as `fused_moe` has, other machine code."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from studies.cubins.driver import Driver
from studies.cubins.pack import TMA, Launch, Layer
from tunefork.base.errors import BadInput

_SCALARS: dict[str, Callable[[Any], Any]] = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "fp32": ctypes.c_float}


def values(launch: Launch, env: Mapping[str, Any], driver: Driver | None = None) -> list[Any]:
    """One ctypes object per parameter. driver: makes descriptors of TMA. Errors: BadInput for a type that no kernel of ours takes."""
    found: list[Any] = []
    for name, key, kind in launch.arguments:
        value = env[key]
        if kind.startswith("*"):
            found.append(ctypes.c_uint64(0 if value is None else value.data_ptr()))
        elif kind.startswith(TMA) and driver is not None:
            rows, columns = map(int, kind.split()[1:])
            total = value.numel() // columns
            found += [driver.tiles(value.data_ptr(), total, columns, rows), ctypes.c_int32(total), ctypes.c_int32(columns), ctypes.c_int64(columns),
                      ctypes.c_int64(1)]  # fmt: skip
        elif kind in _SCALARS:
            found.append(_SCALARS[kind](value))
        else:
            raise BadInput(f"{launch.kernel}: {name} is {kind}, expected a pointer or one of {', '.join(_SCALARS)}", "make the pack again")
    return found + [ctypes.c_uint64(0)] * launch.scratch


class Loaded:
    """One layer whose functions are loaded once; calling it launches them on torch's current stream."""

    def __init__(self, layer: Layer, folder: Path, driver: Driver) -> None:
        self.layer, self.driver = layer, driver
        self.functions = [driver.load((folder / launch.cubin).read_bytes(), launch.symbol, launch.shared) for launch in layer.launches]

    def bound(self, env: Mapping[str, Any], stream: Callable[[], int]) -> Callable[[], Any]:
        """A call over these buffers; ``env["out"]`` is what it returns. The parameters are packed here, once."""
        packed = [(function, launch, values(launch, env, self.driver)) for function, launch in zip(self.functions, self.layer.launches, strict=True)]

        def call() -> Any:
            at = stream()
            for function, launch, held in packed:
                self.driver.launch(function, launch.grid, launch.warps, launch.shared, at, held, launch.chained)
            return env["out"]

        return call


def current_stream() -> int:
    """torch's, also under capture."""
    return int(torch.cuda.current_stream().cuda_stream)
