"""`checkpoint check`: twenty good checkpoints pass, and every planted fault is found under its name, in the full form; most in the quick one too."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loading import module

from tunefork.base.errors import BadInput
from tunefork.bench.checkpoint import hub
from tunefork.bench.checkpoint.check import CERTAIN, KINDS, check
from tunefork.bench.checkpoint.quick import refuse

np = pytest.importorskip("numpy", reason="NOT TESTED: needs torch and numpy (`pip install -e .[kernels]`)")
planted = module("planted", Path(__file__).with_name("planted.py"))
Plan, fill, write = planted.Plan, planted.fill, planted.write

GOOD: dict[str, dict[str, Any]] = {
    "openai": {}, "openai, 3 shards": {"shards": 3}, "openai, other weights": {"seed": 7}, "openai, no structure": {"channels": 0.0, "different": 1.0},
    "openai, no structure, other weights": {"channels": 0.0, "different": 1.0, "seed": 5}, "openai, empty blocks": {"zero_blocks": 40},
    "openai, scales up": {"rounds_up": True}, "openai, small weights": {"scale": 1e-6}, "openai, large weights": {"scale": 4.0},
    "openai, E8M0 scales": {"float_scales": True}, "openai, no biases": {"biases": False}, "openai, one layer": {"sizes": (256, 128, 4, 1)},
    "openai, one expert": {"sizes": (256, 128, 1, 2)}, "openai, wide channels": {"channels": 2.5}, "float": {"layout": "float"},
    "float, 2 shards": {"layout": "float", "shards": 2}, "compressed-tensors": {"layout": "compressed-tensors"}, "quark": {"layout": "quark"},
    "quark, 5 shards, E8M0": {"layout": "quark", "shards": 5, "float_scales": True}, "gguf": {"layout": "gguf"},
    "gguf, empty blocks": {"layout": "gguf", "zero_blocks": 40, "seed": 3},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_a_good_one_is_not_refused(name: str, quick: bool, tmp_path: Path) -> None:
    plan = fill(Plan(**GOOD[name]))
    report = check(write(plan, tmp_path), quick=quick)
    assert report.faults == []
    assert set(report.layouts) == {plan.layout} and report.blocks
    if plan.channels:
        assert report.order == "as the layout says"
    elif plan.different == 1:
        assert not report.order and not report.rows
    if not quick:
        read = sum(len(raw) for name, (dtype, _, raw) in plan.tensors.items() if dtype in ("U8", "F4", "MXFP4", "F8_E8M0"))
        assert report.read_bytes == read


def change(plan: Any, end: str, act: Callable[[Any], Any]) -> None:
    """Change the bytes of the first tensor whose name ends so: a writable uint8 array of its shape (MXFP4: of its bytes)."""
    name = next(name for name in plan.tensors if name.endswith(end))
    dtype, shape, raw = plan.tensors[name]
    array = np.frombuffer(raw, np.uint8).copy()
    array = array.reshape(-1, 17) if dtype == "MXFP4" else array.reshape(shape) if array.size == np.prod(shape) else array
    changed = act(array)
    plan.tensors[name] = (dtype, shape, (array if changed is None else changed).tobytes())


def all_layers(plan: Any, end: str, act: Callable[[Any], Any]) -> None:
    for name in [name for name in plan.tensors if name.endswith(end)]:
        change(plan, name, act)


def retype(plan: Any, end: str, dtype: str, shape: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: shape) -> None:
    name = next(name for name in plan.tensors if name.endswith(end))
    plan.tensors[name] = (dtype, shape(plan.tensors[name][1]), plan.tensors[name][2])


def drop(plan: Any, end: str) -> None:
    del plan.tensors[next(name for name in plan.tensors if name.endswith(end))]


def regroup(values: Any) -> Any:
    """[..., 16] bytes in pairs -> the same elements in gguf's places."""
    codes = np.stack((values & 15, values >> 4), -1).reshape(*values.shape[:-1], 32)
    return codes[..., :16] | (codes[..., 16:] << 4)


def ungroup(raw: Any) -> Any:
    """gguf's blocks -> the same elements in pairs."""
    codes = np.concatenate((raw[:, 1:] & 15, raw[:, 1:] >> 4), -1)
    return np.concatenate((raw[:, :1], codes[:, 0::2] | (codes[:, 1::2] << 4)), -1)


def put(at: Any, value: int) -> Callable[[Any], None]:
    def act(array: Any) -> None:
        array[at] = value

    return act


def saturate(array: Any) -> None:
    array[...] = 0x7F


def bad_bias(array: Any) -> None:
    array[:2] = (0xC0, 0x7F)  # the first bfloat16 is NaN


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def overlap(folder: Path) -> None:
    """The last tensor's bytes are moved onto the one before it; the file keeps its size."""
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    last = max(header, key=lambda name: header[name]["data_offsets"][1])
    header[last]["data_offsets"] = [at - 4 for at in header[last]["data_offsets"]]
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + bytes(1000))


def html(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 20) + b"<html>no such</html>" + bytes(100))


def lose(folder: Path) -> None:
    (folder / "model-00001-of-00003.safetensors").unlink()


def index_more(folder: Path) -> None:
    file = folder / "model.safetensors.index.json"
    content = json.loads(file.read_text())
    content["weight_map"]["model.norm.weight"] = "model-00000-of-00003.safetensors"
    file.write_text(json.dumps(content))


def twice(folder: Path) -> None:
    one, other = folder / "model-00000-of-00003.safetensors", folder / "model-00001-of-00003.safetensors"
    other.write_bytes(one.read_bytes())


def configure(**values: int) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return act


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def unnamed(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "quantization_config"}))


GU, D = "gate_up_proj_blocks", "down_proj_blocks"
# name -> (kind, plan's settings, a change of the tensors, a change of the files, whether the quick form must find it)
BAD: dict[str, tuple[str, dict[str, Any], Callable[[Any], Any] | None, Callable[[Path], None] | None, bool]] = {
    "file cut short": ("file and header disagree", {}, None, truncate, True),
    "tensors overlap": ("file and header disagree", {}, None, overlap, True),
    "bytes against shape": ("file and header disagree", {}, lambda p: retype(p, GU, "U8", lambda s: (*s[:-1], 15)), None, True),
    "no header": ("unreadable file", {}, None, no_header, True),
    "a page of a website": ("unreadable file", {}, None, html, True),
    "shard missing": ("missing shard", {"shards": 3}, None, lose, True),
    "index names more": ("missing tensor", {"shards": 3}, None, index_more, True),
    "shard stored twice": ("duplicate tensor", {"shards": 3}, None, twice, True),
    "scales missing": ("missing tensor", {}, lambda p: drop(p, "down_proj_scales"), None, True),
    "values missing": ("missing tensor", {}, lambda p: drop(p, GU), None, True),
    "a layer missing": ("missing tensor", {}, lambda p: [drop(p, f"1.mlp.experts.{part}") for part in ("down_proj_blocks", "down_proj_scales")], None, True),
    "an expert missing": ("missing tensor", {"layout": "quark"}, lambda p: [drop(p, f"1.mlp.experts.2.up_proj.{part}") for part in ("weight", "weight_scale")],
                          None, True),
    "more layers in the configuration": ("missing tensor", {}, None, configure(num_hidden_layers=3), True),
    "signed bytes": ("wrong dtype", {}, lambda p: retype(p, GU, "I8"), None, True),
    "other hidden size": ("wrong shape", {}, None, configure(hidden_size=512), True),
    "more experts in the configuration": ("wrong shape", {}, None, configure(num_local_experts=8), True),
    "transposed": ("transposed", {}, lambda p: retype(p, GU, "U8", lambda s: (s[0], s[2], s[1], s[3])), None, True),
    "padded beyond the configuration": ("padded", {"sizes": (288, 128, 4, 2)}, None, configure(hidden_size=256), True),
    "padded with zeros": ("padded", {}, lambda p: [all_layers(p, end, put((slice(None), slice(-32, None)), 0)) for end in (D, "down_proj_scales")], None, True),
    "no config.json": ("no configuration", {}, None, no_config, True),
    "quantisation unnamed": ("quantisation unnamed", {}, None, unnamed, True),
    "a scale byte 255": ("scale byte 255", {}, lambda p: change(p, "gate_up_proj_scales", put((1, 3, 2), 255)), None, False),
    "gguf's wrapped bytes": ("wrapped scale bytes", {"layout": "gguf"}, lambda p: change(p, "ffn_up_exps.weight", put((slice(100, 120), 0), 252)), None, False),
    "scale byte 0 in use": ("scale byte 0 in use", {}, lambda p: all_layers(p, "down_proj_scales", put((slice(None), slice(None), 1), 0)), None, True),
    "scales of another tensor": ("not scales", {}, lambda p: all_layers(p, "down_proj_scales", lambda a: np.random.default_rng(0).integers(1, 250, a.shape)
                                                                         .astype(np.uint8)), None, True),
    "scales without a bias": ("not scales", {}, lambda p: all_layers(p, "down_proj_scales", lambda a: a + 100), None, True),
    "saturated": ("saturated", {}, lambda p: all_layers(p, D, saturate), None, True),
    "an empty projection": ("empty projection", {}, lambda p: all_layers(p, D, put(..., 0)), None, True),
    "an empty expert": ("empty expert", {}, lambda p: change(p, GU, put(2, 0)), None, False),
    "nibbles swapped": ("element order", {}, lambda p: all_layers(p, GU, lambda a: (a >> 4) | (a << 4)), None, True),
    "gguf's places in OpenAI's file": ("element order", {}, lambda p: all_layers(p, GU, regroup), None, True),
    "pairs in a gguf file": ("element order", {"layout": "gguf"}, lambda p: all_layers(p, "ffn_gate_exps.weight", ungroup), None, True),
    "nibbles swapped, quark": ("element order", {"layout": "quark"}, lambda p: all_layers(p, "gate_proj.weight", lambda a: (a >> 4) | (a << 4)), None, True),
    "gates before ups": ("gate and up", {"concatenated": True}, None, None, True),
    "gates before ups, float": ("gate and up", {"concatenated": True, "layout": "float"}, None, None, True),
    "NaN among the biases": ("not finite", {}, lambda p: change(p, "gate_up_proj_bias", bad_bias), None, True),
}  # fmt: skip

WITH_OTHERS = ("bytes against shape", "shard missing", "shard stored twice")  # what they bring along is named too


@pytest.mark.slow
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_a_planted_fault_has_its_name(name: str, quick: bool, tmp_path: Path) -> None:
    kind, settings, tensors, files, found_quickly = BAD[name]
    plan = fill(Plan(**settings))
    if tensors is not None:
        tensors(plan)
    folder = write(plan, tmp_path)
    if files is not None:
        files(folder)
    faults = check(folder, quick=quick).faults
    found = [fault.kind for fault in faults]
    if quick and not found_quickly:
        assert set(found) <= {kind}
    else:
        assert found[:1] == [kind] and (name in WITH_OTHERS) == (set(found) != {kind}), faults


def test_every_kind_is_planted() -> None:
    assert {kind for kind, *_ in BAD.values()} == set(KINDS) and set(KINDS) > CERTAIN and len(KINDS) >= 20 and len(GOOD) >= 20


def test_sorted_rows_are_no_halves(tmp_path: Path) -> None:
    """Somebody sorted the intermediate channels by size: the halves differ, and still nothing is wrong."""
    plan = fill(Plan(different=1.0))
    name = next(name for name in plan.tensors if name.endswith("gate_up_proj_bias"))
    bias = np.sort(np.random.default_rng(1).standard_normal((4, 256)), -1)
    plan.tensors[name] = ("BF16", (4, 256), planted.bf16(bias))
    assert check(write(plan, tmp_path)).faults == []


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file or folder"):
        check(tmp_path / "none")
    with pytest.raises(BadInput, match="holds no .safetensors and no .gguf"):
        check(tmp_path)
    planted.safetensors(tmp_path / "model.safetensors", {"model.norm.weight": ("BF16", (4,), bytes(8))})
    with pytest.raises(BadInput, match="no MXFP4 experts"):
        check(tmp_path)


def test_serve_and_bench_run_ask_before_they_start(tmp_path: Path) -> None:
    """What is certain is refused with the command that tells all; what statistics say is said; another model's folder is left alone."""
    said: list[str] = []
    good = fill(Plan())
    refuse(write(good, tmp_path / "good"), said.append)
    refuse(write(Plan(tensors={}), tmp_path / "other", method=None), said.append)
    refuse(tmp_path / "none", said.append)
    (tmp_path / "dummy").mkdir()
    (tmp_path / "dummy/config.json").write_text((tmp_path / "good/config.json").read_text())
    refuse(tmp_path / "dummy", said.append)
    assert said == []
    swapped = fill(Plan())
    all_layers(swapped, GU, lambda a: (a >> 4) | (a << 4))
    refuse(write(swapped, tmp_path / "swapped"), said.append)
    assert len(said) == 1 and "element order" in said[0] and "nibbles swapped" in said[0]
    drop(good, GU)
    with pytest.raises(BadInput, match="missing tensor: model.layers.0.mlp.experts.gate_up_proj_scales") as error:
        refuse(write(good, tmp_path / "bad"), said.append)
    assert error.value.remedy.endswith(f"checkpoint check {tmp_path / 'bad'}")


def test_every_fault_says_what_follows(tmp_path: Path) -> None:
    plan = fill(Plan())
    change(plan, "gate_up_proj_scales", put((1, 3, 2), 255))
    (fault,) = check(write(plan, tmp_path)).faults
    said = fault.as_dict()
    assert said["level"] == "error" and "1 of" in said["message"] and "NaN" in said["vllm"] and "prepare_weights" in said["kernel"]


DEEP = b"[" * 200_000


def header(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


STRANGE = {
    "deep": header(DEEP), "a shape of texts": header(b'{"a": {"dtype": "U8", "shape": ["x"], "data_offsets": [0, 0]}}'),
    "a list for a type": header(b'{"a": {"dtype": [], "shape": [1], "data_offsets": [0, 1]}}'),
    "no offsets": header(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": []}}'),
    "offsets that are no counts": header(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0.5, NaN]}}'),
    "offsets below nothing": header(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [-9, 1]}}'),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_strangers_header_is_a_fault_and_no_traceback(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(STRANGE[name] + b"\0" * 64)
    assert {fault.kind for fault in check(tmp_path).faults} & {"unreadable file", "file and header disagree"}


@pytest.mark.parametrize("names", [{"a": "../outside.safetensors"}, {"a": "/etc/passwd"}, {"a": 5}, {"a": ["x"]}, {"a": ""}, None])
def test_an_index_names_files_of_its_folder_and_nothing_else(names: object, tmp_path: Path) -> None:
    write(fill(Plan()), tmp_path)
    (tmp_path.parent / "outside.safetensors").write_bytes(header(b"{}"))
    index = DEEP if names is None else json.dumps({"weight_map": names}).encode()
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    assert [fault.where for fault in check(tmp_path).faults if fault.kind == "unreadable file"] == ["model.safetensors.index.json"]
    assert hub.whole(tmp_path) or isinstance(names, dict)


@pytest.mark.parametrize("config", [DEEP, b"[]", b'{"quantization_config": [1]}', b'{"hidden_size": Infinity}'])
def test_a_strangers_configuration_is_a_fault(config: bytes, tmp_path: Path) -> None:
    write(fill(Plan()), tmp_path)
    (tmp_path / "config.json").write_bytes(config)
    assert "no configuration" in {fault.kind for fault in check(tmp_path).faults}


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(BadInput, match="holds no"):
        check(tmp_path)


def test_arrays_within_arrays_end(tmp_path: Path) -> None:
    nested = struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + nested)
    assert [fault.kind for fault in check(tmp_path / "a.gguf").faults][:1] == ["unreadable file"]


@pytest.mark.parametrize("count", [2**64 - 1, 2**63 - 1, 2**61, 5])
@pytest.mark.parametrize("kind", [0, 10])
def test_an_array_that_is_longer_than_its_gguf_file(count: int, kind: int, tmp_path: Path) -> None:
    """A seek by it was a traceback, or went beyond the end as if the values were there."""
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, kind, count))
    assert [(fault.kind, "beyond the file's end" in fault.message) for fault in check(tmp_path / "a.gguf").faults][:1] == [("unreadable file", True)]
