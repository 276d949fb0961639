"""A pack: one folder, ``manifest.json`` and a cubin per distinct kernel, of table rows compiled for sm_90 by one or several Tritons.

A kernel is compiled as the registry describes it (`tunefork.kernels.registry.entries`): pointers and strides divisible by 16, nothing said of M. A
launch through Triton itself may know more (M divisible by 16), so times of a pack are compared with times of a pack.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import SM90
from tunefork.kernels.entry import entry
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4.config import LayerConfig, MoeShape, pick, ringed
from tunefork.kernels.moe_a16w4.plan import POINTERS, Case, plan
from tunefork.kernels.shipped import Shipped

MANIFEST = "manifest.json"
LIMIT = 60 << 20  # bytes of a pack: what travels to a device machine in one call, less the repository
_PARAM = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.(u64|b64|u32|b32|s32|f32|s64|f64|b8)\b")
TMA = "tma"  # the type of an argument that is read by TMA: "tma ROWS COLUMNS", a tile's rows and a row's columns
TMA_PARAMETERS = 5  # of such an argument: its descriptor, two sizes, two strides


@dataclass(frozen=True)
class Launch:
    """One launch of a layer. arguments: (name of the parameter, buffer or scalar that it is bound to, Triton's type), in the order of the kernel's
    parameters; scratch: null pointers that Triton's launcher passes behind them. shared: bytes of dynamic shared memory. chained: starts before the
    launch in front of it ends (programmatic dependent launch)."""

    kernel: str
    cubin: str
    symbol: str
    grid: tuple[int, int, int]
    warps: int
    shared: int
    chained: bool
    arguments: tuple[tuple[str, str, str], ...]
    scratch: int


@dataclass(frozen=True)
class Layer:
    """The launches of one row under one Triton, in order."""

    triton: str
    tp: int
    tokens: int
    launches: tuple[Launch, ...]
    ring: bool = False


def parameters(ptx: str) -> int:
    """How many parameters a PTX text's one entry has. Errors: BadInput where there is none, or more than one."""
    heads = re.findall(r"\.entry\s+\w+\s*\((.*?)\)", ptx, re.DOTALL)
    if len(heads) != 1:
        raise BadInput(f"{len(heads)} entries in a kernel's PTX, expected one", "compile one kernel at a time")
    return len(_PARAM.findall(heads[0]))


def case_of(tp: int, tokens: int) -> Case:
    """GPT-OSS-120B's layer on one rank of ``tp``."""
    return Case(SM90.name, MoeShape(MODEL.hidden, MODEL.intermediate // tp, MODEL.experts, MODEL.topk), tokens, MODEL.experts)


def config_of(case: Case, ring: bool) -> LayerConfig:
    """The table's row, or, with ring, what config.RINGS has for so many tokens in its place."""
    config = pick(SM90.name, case.shape, case.tokens)
    return ringed(config, SM90.name, case.shape, case.tokens) if ring else config


def rows(tp: int, tokens: int, ring: bool = False) -> Iterator[tuple[Shipped, dict[str, tuple[str, str] | None]]]:
    """Each launch of a layer: what to compile, and of each parameter what it is bound to and, where Triton's type does not say it, how."""
    case = case_of(tp, tokens)
    config = config_of(case, ring)
    part = "*bf16" if config.partial == "bf16" else "*fp32"
    for step in plan(case, config):
        bind: dict[str, tuple[str, str] | None] = {name: None if key is None else (key, "") for name, key in step.bind.items()}
        bind |= {name: (tiles.buffer, f"{TMA} {tiles.rows} {tiles.columns}") for name, tiles in step.tiles.items()}
        yield entry(step, "moe_a16w4", f"tp{tp}", f"M{tokens}", POINTERS | {"part": part}, SM90.name, None), bind


def launch_of(row: Shipped, bind: Mapping[str, tuple[str, str] | None], done: Any) -> tuple[Launch, bytes]:
    """What Triton made of a row. Errors: BadInput where its parameters are not ours plus pointers behind them."""
    bound = [(name, bind[name] or ("None", ""), kind) for name in row.fn.arg_names if (kind := row.signature[name]) != "constexpr"]
    arguments = tuple((name, key, how or kind) for name, (key, how), kind in bound)
    taken = sum(TMA_PARAMETERS if kind.startswith(TMA) else 1 for _, _, kind in arguments)
    scratch = parameters(done.asm["ptx"]) - taken
    if not 0 <= scratch <= 2:
        raise BadInput(f"{row.label}: {scratch + taken} parameters for {taken} arguments", "this Triton passes something we do not know")
    about, cubin = done.metadata, done.asm["cubin"]
    name = f"{row.fn.__name__}-{hashlib.sha256(cubin).hexdigest()[:12]}.cubin"
    return Launch(row.fn.__name__, name, about.name, row.grid or (1, 1, 1), about.num_warps, about.shared, bool(row.options.get("launch_pdl")), arguments,
                  scratch), cubin  # fmt: skip


def compile_layer(tp: int, tokens: int, folder: Path, ring: bool = False) -> Layer:
    """Compile one row with the Triton of this process; its cubins go into ``folder``."""
    import triton

    from tunefork.kernels.sm90 import compiled

    launches = []
    for row, bind in rows(tp, tokens, ring):
        launch, cubin = launch_of(row, bind, compiled(row))
        (folder / launch.cubin).write_bytes(cubin)
        launches.append(launch)
    return Layer(str(triton.__version__), tp, tokens, tuple(launches), ring)


def write(layers: Iterable[Layer], folder: Path) -> int:
    """Write the manifest; returns the bytes of the whole pack. Errors: BadInput for a pack that is too large to travel."""
    (folder / MANIFEST).write_text(json.dumps([asdict(layer) for layer in layers]) + "\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > LIMIT:
        raise BadInput(f"{folder} has {size} bytes, at most {LIMIT}", "fewer --tokens or fewer --triton")
    return size


def read(folder: Path) -> list[Layer]:
    """The layers of a pack. Errors: BadInput for a folder that is none."""
    try:
        held = json.loads((folder / MANIFEST).read_text())
        return [Layer(one["triton"], one["tp"], one["tokens"], tuple(_launch(each) for each in one["launches"]), one["ring"]) for one in held]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} is no pack: {error}", "python3 -m studies.cubins pack --out FOLDER") from error


def _launch(held: Mapping[str, Any]) -> Launch:
    grid: Sequence[int] = held["grid"]
    return Launch(**{**held, "grid": (grid[0], grid[1], grid[2]), "arguments": tuple((a, b, c) for a, b, c in held["arguments"])})
