"""The check itself: files, names, shapes, then bytes. What is found is a list of faults; each kind has what vLLM and our kernel would make of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunefork.base.errors import BadInput
from tunefork.bench.checkpoint.blocks import WRAPPED, Bytes, column_sizes, pieces, scan
from tunefork.bench.checkpoint.order import Verdict, element_order, row_order
from tunefork.bench.checkpoint.projections import GROUP, Projection, expected, projections, stored_shapes
from tunefork.bench.checkpoint.tensors import Tensor, Unreadable, extent_faults, gguf_header, safetensors_header

if TYPE_CHECKING:
    import numpy as np

INDEX = "model.safetensors.index.json"
SAMPLE_ROWS = 128  # of one expert: the quick form's, and the order tests'
SAMPLED = 12  # projections, evenly over the layers
SATURATED = 0.25  # of elements; blocks of a normal distribution have 0.02 to 0.08 by every rule of docs/mxfp4.md
SPREAD = 64  # scale bytes from the 1st to the 99th percentile: weights of one matrix within 2**64
ERROR, WARNING = "error", "warning"

# kind -> (level, what vLLM's loader makes of it, what our kernel makes of it). vLLM: read in the source of the pin, 0.33.0.
KINDS = {
    "unreadable file": (ERROR, "stops while loading", "is not reached"),
    "missing shard": (ERROR, "stops, or loads the layers without it where the index is missing too", "multiplies by memory that was never written"),
    "file and header disagree": (ERROR, "stops in safetensors, or reads another tensor's bytes", "cannot tell"),
    "missing tensor": (ERROR, "leaves the parameter as it was allocated, without a word", "multiplies by memory that was never written"),
    "duplicate tensor": (ERROR, "keeps the one that it reads last", "cannot tell"),
    "wrong dtype": (ERROR, "copies with a cast: other bytes", "refuses what is no uint8"),
    "wrong shape": (ERROR, "stops at the copy, or slices the wrong part", "refuses at prepare_weights"),
    "transposed": (ERROR, "stops at the copy, or takes rows for columns where both sizes agree", "refuses at prepare_weights"),
    "padded": (ERROR, "slices by config.json: the padding's place is taken for weights", "multiplies the zeros: slower, and wrong where the slice moved"),
    "no configuration": (WARNING, "stops: it needs config.json", "is not reached"),
    "quantisation unnamed": (ERROR, "takes the loader of unquantised weights", "is not chosen"),
    "scale byte 255": (ERROR, "decodes NaN on a GPU; transformers reads 2^128", "refuses at prepare_weights"),
    "wrapped scale bytes": (ERROR, "decodes 2^(byte - 127): infinities in bf16", "overflows to infinities"),
    "scale byte 0 in use": (WARNING, "2^-127 or 0, by the backend", "2^-127, exact"),
    "not scales": (ERROR, "decodes noise", "decodes noise"),
    "saturated": (ERROR, "decodes the cut weights: accuracy falls", "the same"),
    "empty projection": (ERROR, "multiplies by zeros", "the same"),
    "empty expert": (ERROR, "routes tokens to it and adds its bias alone", "the same"),
    "element order": (ERROR, "pairs each weight with another input: noise", "the same"),
    "gate and up": (ERROR, "takes half of the gates for ups: noise", "the same"),
    "not finite": (ERROR, "adds NaN to every token of that expert", "the same"),
}

# What files and names prove; the others are read from bytes, by thresholds.
CERTAIN = {"unreadable file", "missing shard", "file and header disagree", "missing tensor", "duplicate tensor", "wrong dtype", "wrong shape", "transposed",
           "scale byte 255", "not finite"}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """kind: a key of KINDS. where: a file, a tensor or a projection. message: what was expected and what is there."""

    kind: str
    where: str
    message: str

    @property
    def level(self) -> str:
        """"error" or "warning"."""
        return KINDS[self.kind][0]

    def as_dict(self) -> dict[str, str]:
        """With what follows from it."""
        level, vllm, kernel = KINDS[self.kind]
        return {"kind": self.kind, "level": level, "where": self.where, "message": self.message, "vllm": vllm, "kernel": kernel}


@dataclass
class Report:
    """layouts: name -> projections. blocks, empty: what was read. order, rows: the verdicts' names, "" where the bytes do not tell."""

    path: str
    quick: bool
    files: int = 0
    layouts: dict[str, int] = field(default_factory=dict)
    read_bytes: int = 0
    blocks: int = 0
    empty: int = 0
    scale_low: int | None = None
    scale_high: int | None = None
    order: str = ""
    rows: str = ""
    faults: list[Fault] = field(default_factory=list)

    @property
    def errors(self) -> list[Fault]:
        """The faults that would give wrong results or none."""
        return [fault for fault in self.faults if fault.level == ERROR]

    def add(self, kind: str, where: str, message: str) -> None:
        """One more fault."""
        assert kind in KINDS
        self.faults.append(Fault(kind, where, message))


def files_of(path: Path, report: Report) -> list[Path]:
    """The checkpoint's files; a shard that the index names and that is not there is a fault. Errors: BadInput where there is no checkpoint."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise BadInput(f"no such file or folder: {path}", "give a checkpoint's folder, a .safetensors or a .gguf file; fetch one from a hub first")
    # No pipe: opening one waits for who writes to it.
    found = next((some for kind in ("safetensors", "gguf") if (some := sorted(each for each in path.glob(f"*.{kind}") if each.is_file()))), [])
    if (index := path / INDEX).is_file():
        try:
            named = named_files(index)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            report.add("unreadable file", index.name, f"no index of safetensors files ({type(error).__name__})")
            return found
        for name in named:
            if not (path / name).is_file():
                report.add("missing shard", name, "the index names it, and it is not in the folder")
        found = [path / name for name in named if (path / name).is_file()]
    if not found and not report.faults:
        raise BadInput(f"{path} holds no .safetensors and no .gguf file", "give the folder of a checkpoint")
    return found


def named_files(index: Path) -> list[str]:
    """The files that an index names. Errors: ValueError among others where one is no name in the index's own folder."""
    named = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    if not all(name and Path(name).name == name for name in named):
        raise ValueError("it names what is no file of its folder")
    return named


def check_names(path: Path, tensors: list[Tensor], report: Report) -> None:
    """The index against what the files hold, and every tensor once."""
    seen: dict[str, Path] = {}
    for tensor in tensors:
        if tensor.name in seen:
            report.add("duplicate tensor", tensor.name, f"it is in {seen[tensor.name].name} and in {tensor.file.name}")
        seen[tensor.name] = tensor.file
    index = path / INDEX
    if index.is_file() and not any(fault.where == index.name for fault in report.faults):
        for name, file in json.loads(index.read_bytes())["weight_map"].items():
            if name not in seen and (path / file).is_file():
                report.add("missing tensor", name, f"the index places it in {file}, which does not have it")


def sizes_of(path: Path, gguf: dict[str, object], report: Report) -> dict[str, int]:
    """hidden, intermediate, experts, layers: of config.json, or of a GGUF file's own values."""
    if gguf:
        keys = {"hidden": ".embedding_length", "intermediate": ".expert_feed_forward_length", "experts": ".expert_count", "layers": ".block_count"}
        found = {name: value for name, end in keys.items() for key, value in gguf.items() if key.endswith(end) and isinstance(value, int)}
        if len(found) < len(keys):
            report.add("no configuration", path.name, f"its values do not say {', '.join(sorted(set(keys) - set(found)))}")
        return found if len(found) == len(keys) else {}
    file = (path if path.is_dir() else path.parent) / "config.json"
    try:
        config = json.loads(file.read_bytes())
        names = {"hidden": "hidden_size", "intermediate": "intermediate_size", "experts": "num_local_experts", "layers": "num_hidden_layers"}
        found = {ours: int(config[theirs]) for ours, theirs in names.items()}
        method = (config.get("quantization_config") or {}).get("quant_method")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        report.add("no configuration", file.name, f"sizes cannot be compared ({type(error).__name__}: {error})")
        return {}
    if method is None:
        report.add("quantisation unnamed", file.name, "the weights are MXFP4 and quantization_config has no quant_method")
    return found


def check_shapes(found: list[Projection], sizes: dict[str, int], report: Report) -> list[Projection]:
    """Dtypes and shapes; what is as it must be, to be read."""
    good = []
    for one in found:
        rows, columns = expected(one, sizes["hidden"], sizes["intermediate"])
        before = len(report.faults)
        wanted = stored_shapes(one, rows, columns, sizes["experts"])
        dtypes = {"float": ("F4", "F8_E8M0"), "gguf": ("MXFP4", "")}.get(one.layout, ("U8", "U8"))
        for tensor, shape, dtype in ((one.values, wanted[0], dtypes[0]), (one.scales, wanted[1], dtypes[1])):
            if tensor is None or shape is None:
                continue
            if tensor.dtype != dtype and not (tensor is one.scales and tensor.dtype in ("U8", "F8_E8M0")):
                report.add("wrong dtype", tensor.name, f"{dtype} was expected, it is {tensor.dtype}")
            if tensor.shape != shape:
                kind = ("transposed" if sorted(tensor.shape) == sorted(shape) else
                        "padded" if len(tensor.shape) == len(shape) and all(a >= b for a, b in zip(tensor.shape, shape, strict=True)) else "wrong shape")
                report.add(kind, tensor.name, f"config.json makes it {list(shape)}, it is {list(tensor.shape)}")
        if len(report.faults) == before:
            good.append(one)
    return good


def check_complete(found: list[Projection], alone: list[str], sizes: dict[str, int], report: Report) -> None:
    """Every layer and every expert has what the others have."""
    for name in alone:
        report.add("missing tensor", name, "its scales or its values are nowhere")
    have: dict[tuple[int, int | None], set[str]] = {}
    for one in found:
        have.setdefault((one.layer, one.expert), set()).add(one.kind)
    kinds = set().union(*have.values())
    experts: Sequence[int | None] = range(sizes["experts"]) if any(one.expert is not None for one in found) else [None]
    for layer in range(sizes["layers"]):
        for expert in experts:
            if lost := kinds - have.get((layer, expert), set()):
                where = f"layer {layer}" + (f" expert {expert}" if expert is not None else "")
                report.add("missing tensor", where, f"it has no MXFP4 {' and no '.join(sorted(lost))}")


def judge(one: Projection, seen: Bytes, quick: bool, report: Report) -> None:
    """Faults of one projection's bytes."""
    import numpy as np

    counts, where = seen.scales, one.label
    wrapped = one.layout == "gguf" and seen.wrapped > 0
    if wrapped:
        report.add("wrapped scale bytes", where, f"{seen.wrapped} blocks have bytes {WRAPPED} to 255: gguf's for weights below 2^-125")
    elif seen.nan:
        report.add("scale byte 255", where, f"{seen.nan} of {seen.blocks} blocks are NaN")
    if seen.used_at_zero:
        report.add("scale byte 0 in use", where, f"{seen.used_at_zero} blocks that are not empty have the scale 2^-127")
    if seen.empty == seen.blocks:
        report.add("empty projection", where, f"all {seen.blocks} blocks that were read are zero")
        return
    busy = counts.copy()
    busy[0] = 0  # what an empty block has
    share = np.cumsum(busy) / max(busy.sum(), 1)
    low, high = int(np.searchsorted(share, 0.01)), int(np.searchsorted(share, 0.99))
    if busy.any() and ((high - low > SPREAD and not wrapped) or high > 127 + 40):
        report.add("not scales", where, f"98 of 100 bytes lie in {low} to {high}: weights do not")
    if seen.saturated > SATURATED * seen.elements:
        report.add("saturated", where, f"{100 * seen.saturated / seen.elements:.0f} of 100 elements are at 6 or -6: the scales are too small")
    if seen.tail >= GROUP or seen.tail_columns:
        report.add("padded", where, f"the last {seen.tail} rows and {seen.tail_columns * GROUP} columns of an expert are zero")
    if seen.empty_experts and not quick:
        report.add("empty expert", where, f"all weights of expert {', '.join(map(str, seen.empty_experts[:8]))} are zero")


def floats(tensor: Tensor, most: int = 8 << 20) -> np.ndarray | None:
    """A small unquantised tensor as float32; None for a dtype that is none, and for more than `most` bytes."""
    import numpy as np

    if tensor.size > most or tensor.dtype not in ("BF16", "F16", "F32"):
        return None
    with tensor.file.open("rb") as file:
        file.seek(tensor.start)
        raw = file.read(tensor.size)
    if tensor.dtype == "BF16":
        found = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        found = np.frombuffer(raw, np.float16 if tensor.dtype == "F16" else np.float32).astype(np.float32)
    return found.reshape(tensor.shape)


def sample(one: Projection, rows: int, experts: int) -> list[tuple[int, int, int]]:
    """Rows to read: the end of the first expert, and of another."""
    count, stacked = min(SAMPLE_ROWS, rows), experts if one.expert is None else 1
    return [(expert, rows - count, count) for expert in sorted({0, stacked // 2})]


def check_orders(found: list[Projection], tensors: list[Tensor], sizes: dict[str, int], report: Report) -> None:
    """Elements within blocks, and gate beside up."""
    import numpy as np

    by_name = {tensor.name: tensor for tensor in tensors}
    inputs = [one for one in found if one.kind in ("gate_up", "gate") and one.expert in (None, 0)][:: max(1, len(found) // (2 * SAMPLED))][:SAMPLED]
    columns, references, rows_seen = [], [], []
    for one in inputs:
        rows, width = expected(one, sizes["hidden"], sizes["intermediate"])
        want = sample(one, rows, sizes["experts"])
        ends = (f"layers.{one.layer}.mlp.router.weight", f"blk.{one.layer}.ffn_gate_inp.weight")
        router = next((tensor for name, tensor in by_name.items() if name.endswith(ends)), None)
        known = floats(router) if router is not None else None
        if known is not None and known.shape[-1] == width and np.isfinite(known).all():
            columns.append(column_sizes(one, sizes["experts"], rows, width, want))
            references.append(np.sqrt((known.astype(np.float64) ** 2).mean(0)))
        if one.kind == "gate_up":
            span = [(expert, 0, rows) for expert in sorted({0, (sizes["experts"] if one.expert is None else 1) // 2})]
            for _, _, _, scales in pieces(one, sizes["experts"], rows, width, span):
                rows_seen.append(scales.mean(1) - scales.mean())
            if one.bias is not None and (bias := floats(one.bias)) is not None and np.isfinite(bias).all():
                flat = bias.reshape(-1, bias.shape[-1])
                rows_seen += list((flat - flat.mean()) / max(float(flat.std()), 1e-30))
    if columns:
        verdict = element_order(columns, references)
        report.order = verdict.name
        if verdict.name not in ("", "as the layout says"):
            report.add("element order", inputs[0].layout, f"{verdict.name}: {scored(verdict)}")
    if rows_seen:
        verdict = row_order(np.stack(rows_seen))
        report.rows = verdict.name
        if verdict.name == "halves":
            report.add("gate and up", inputs[0].label, f"rows must be gate, up, gate, up; here all gates come first: {scored(verdict)}")


def scored(verdict: Verdict) -> str:
    """The scores, in words."""
    return ", ".join(f"{name} {score:g}" for name, score in verdict.scores.items()) + " standard deviations"


def check_biases(found: list[Projection], report: Report) -> None:
    """NaN and infinities among the biases."""
    import numpy as np

    for one in found:
        if one.bias is not None and (bias := floats(one.bias, 64 << 20)) is not None and not np.isfinite(bias).all():
            report.add("not finite", one.bias.name, f"{int((~np.isfinite(bias)).sum())} of {bias.size} values are not finite")


def read_headers(files: list[Path], report: Report) -> tuple[list[Tensor], dict[str, object]]:
    """Every file's tensors, and a GGUF file's values."""
    tensors: list[Tensor] = []
    values: dict[str, object] = {}
    for file in files:
        try:
            if file.suffix == ".gguf":
                found, about = gguf_header(file)
                values |= about
            else:
                found = safetensors_header(file)
        except Unreadable as error:
            report.add("unreadable file", file.name, str(error))
            continue
        for fault in extent_faults(found, file.stat().st_size):
            report.add("file and header disagree", file.name, fault)
        tensors += found
    return tensors, values


def check(path: Path, *, quick: bool = False, say: Callable[[str], None] = lambda line: None) -> Report:
    """Check a checkpoint. quick: headers, and samples of at most `SAMPLED` projections. Errors: BadInput where there is none, or none in MXFP4."""
    report = Report(str(path), quick)
    files = files_of(path, report)
    report.files = len(files)
    tensors, gguf = read_headers(files, report)
    check_names(path, tensors, report)
    found, alone = projections(tensors)
    if not found and not alone:
        if report.errors:
            return report
        raise BadInput(f"{path} has no MXFP4 experts of GPT-OSS", "give a GPT-OSS checkpoint: tensors named ...mlp.experts... or blk.N.ffn_..._exps")
    for one in found:
        report.layouts[one.layout] = report.layouts.get(one.layout, 0) + 1
    sizes = sizes_of(path, gguf, report)
    if not sizes or not found:
        for name in alone:
            report.add("missing tensor", name, "its scales or its values are nowhere")
        return report
    check_complete(found, alone, sizes, report)
    good = check_shapes(found, sizes, report)
    if any(fault.kind == "file and header disagree" for fault in report.faults):
        return report  # bytes that are not there cannot be judged
    read_bytes(good, sizes, quick, report, say)
    if good:
        check_orders(good, tensors, sizes, report)
    check_biases(found, report)
    return report


def read_bytes(good: list[Projection], sizes: dict[str, int], quick: bool, report: Report, say: Callable[[str], Any]) -> None:
    """Scan the projections, or a sample of them."""
    chosen = good[:: max(1, -(-len(good) // SAMPLED))] if quick else good
    for at, one in enumerate(chosen):
        rows, columns = expected(one, sizes["hidden"], sizes["intermediate"])
        experts = sizes["experts"] if one.expert is None else 1
        seen = scan(one, experts, rows, columns, sample(one, rows, sizes["experts"]) if quick else None)
        report.scale_low = min(seen.low, 255 if report.scale_low is None else report.scale_low)
        report.scale_high = max(seen.high, report.scale_high or 0)
        report.blocks += seen.blocks
        report.empty += seen.empty
        report.read_bytes += 17 * seen.blocks
        judge(one, seen, quick, report)
        if not quick:
            say(f"{at + 1} of {len(chosen)} projections, {report.read_bytes / 2**30:.2f} GiB: {one.label}")
