"""vllm/explain-environment: what vLLM says of environment names that do nothing, and of the bound where A16W4 becomes A8W4."""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

ENVS, PLATFORM, OPERATIONS = "vllm/envs.py", "vllm/platforms/interface.py", "vllm/_aiter_ops.py"
ORACLE = "vllm/model_executor/layers/fused_moe/oracle/mxfp4.py"
PATCH, BOUND = "vllm/explain-environment", "AITER_BF16_FP8_MOE_BOUND"

RunSource = Callable[..., ModuleType]
Extract = Callable[[str, str], str]

# name -> what the message names instead
DEAD = {
    "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4": BOUND,
    "VLLM_USE_AITER_UNIFIED_ATTENTION": "--attention-backend ROCM_AITER_UNIFIED_ATTN",
    "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": "--attention-backend ROCM_AITER_UNIFIED_ATTN",
    "VLLM_ROCM_USE_AITER_MOEE": "did you mean VLLM_ROCM_USE_AITER_MOE?",
}


@pytest.fixture
def said(
    run_source: RunSource, extract: Extract, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., str]:
    """What the platform's ``validate_environ`` logs where one variable is set and nothing else named VLLM_* is; files: a side of the patch."""

    def run(files: Callable[[str], str], name: str, *, hard_fail: bool = False) -> str:
        vllm = ModuleType("vllm")
        vars(vllm)["envs"] = run_source(files(ENVS), MagicMock(name="vllm"), ("vllm",))
        monkeypatch.setitem(sys.modules, "vllm", vllm)
        space: dict[str, Any] = {"os": SimpleNamespace(environ={name: "1"}), "logger": logging.getLogger("vllm.platforms")}
        exec(extract(files(PLATFORM), "Platform.validate_environ"), space)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            space["validate_environ"](object, hard_fail)
        return caplog.text

    return run


@pytest.mark.parametrize("name", DEAD)
def test_a_dead_name_says_what_to_use(name: str, patched: Any, said: Callable[..., str]) -> None:
    patch = patched(PATCH)
    text = said(patch.after, name)
    assert name in text and DEAD[name] in text
    assert DEAD[name] not in said(patch.before, name)


def test_an_unknown_name_still_fails_where_asked(patched: Any, said: Callable[..., str]) -> None:
    after = patched(PATCH).after
    with pytest.raises(ValueError, match="VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4; AITER's MXFP4 MoE"):
        said(after, "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4", hard_fail=True)


def test_a_name_that_vllm_defines_never_fails(patched: Any, said: Callable[..., str]) -> None:
    assert "has no effect" in said(patched(PATCH).after, "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION", hard_fail=True)


@pytest.mark.parametrize("name", ["VLLM_ROCM_USE_AITER", "PATH", BOUND])
def test_a_name_that_works_says_nothing(name: str, patched: Any, said: Callable[..., str]) -> None:
    assert said(patched(PATCH).after, name) == ""


def test_the_dead_names_are_dead(patched: Any) -> None:
    """The premise, in the same tree: two are no variables, and nothing asks for the value of the third."""
    tree = patched(PATCH).tree / "vllm"
    source = (tree / "envs.py").read_text()
    assert '"VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4": lambda' not in source
    assert '"VLLM_USE_AITER_UNIFIED_ATTENTION": lambda' not in source
    assert '"VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": lambda' in source
    asked = [path for path in tree.rglob("*.py") if "is_triton_unified_attn_enabled" in path.read_text()]
    assert asked == [tree / "_aiter_ops.py"]
    assert (tree / "_aiter_ops.py").read_text().count("is_triton_unified_attn_enabled") == 1, "defined, never called"


def bound_log(extract: Extract, source: str, value: str | None, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the bound's method logs for one value of the variable."""
    import os

    if value is None:
        monkeypatch.delenv(BOUND, raising=False)
    else:
        monkeypatch.setenv(BOUND, value)
    logger = MagicMock(name="logger")
    space: dict[str, Any] = {"os": os, "logger": logger}
    exec(extract(source, "rocm_aiter_ops.log_mxfp4_moe_activations"), space)
    space["log_mxfp4_moe_activations"]()
    text, *values = logger.info_once.call_args.args
    return str(text % tuple(values))


@pytest.mark.parametrize(("value", "rows"), [(None, "256"), ("1024", "1024"), ("0", "0")])
def test_the_bound_is_logged(
    value: str | None, rows: str, patched: Any, extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = bound_log(extract, patched(PATCH).after(OPERATIONS), value, monkeypatch)
    assert f"bf16 activations in steps below {rows} rows" in text and BOUND in text


def test_a_bound_that_is_no_number_is_refused(patched: Any, extract: Extract, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=f"{BOUND} is a number of rows, got 'off'"):
        bound_log(extract, patched(PATCH).after(OPERATIONS), "off", monkeypatch)


def test_gpt_oss_on_aiter_says_it_once_its_weights_are_converted(patched: Any) -> None:
    """The call stands in AITER's branch of GPT-OSS's conversion, and nowhere before the patch."""
    patch = patched(PATCH)

    def branch(source: str) -> str:
        name = "convert_gpt_oss_weight_to_mxfp4_moe_kernel_format"
        functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
        convert = next(node for node in functions if node.name == name)
        tests = [node for node in ast.walk(convert) if isinstance(node, ast.If)]
        return next(
            "\n".join(map(ast.unparse, node.body))
            for node in tests
            if ast.unparse(node.test) == "mxfp4_backend == Mxfp4MoeBackend.AITER_MXFP4_BF16"
        )

    assert "rocm_aiter_ops.log_mxfp4_moe_activations()" in branch(patch.after(ORACLE))
    assert "log_mxfp4_moe_activations" not in patch.before(ORACLE)


@pytest.mark.aiter
def test_aiter_reads_that_bound(patched: Any) -> None:
    """The premise, in AITER's tree: the name, its default, and what it decides."""
    source = (patched("aiter/a16w4-two-stages").tree / "aiter/fused_moe.py").read_text()
    assert f'int(os.environ.get("{BOUND}", "256"))' in source
    assert 'if get_gfx() != "gfx950" or M < bf16_fp8_bound:' in source
