"""vllm/compile-sizes: what becomes of compile_sizes, from the two methods alone and through vLLM's own configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

CONFIG, VLLM = "vllm/config/compilation.py", "vllm/config/vllm.py"
METHOD = "CompilationConfig.post_init_cudagraph_sizes"
CAPTURED = [1, 2, 4, 8, 16]

Extract = Callable[[str, str], str]


def settled(
    source: str, sizes: list[Any] | None, captured: list[int] = CAPTURED, *, limit: int | None = None, mixed: bool = True
) -> tuple[list[int], list[str]]:
    """(compile_sizes afterwards, the warnings) of the extracted method ``source``."""
    warnings: list[str] = []
    logger = SimpleNamespace(warning=lambda text, *args: warnings.append(text % args))
    space: dict[str, Any] = {"logger": logger}
    exec(source, space)
    mode = MagicMock(name="cudagraph_mode")
    mode.mixed_mode.return_value = mixed
    mode.name = "FULL_AND_PIECEWISE"
    config = SimpleNamespace(
        compile_sizes=sizes,
        cudagraph_capture_sizes=list(captured),
        max_cudagraph_capture_size=max(captured, default=0),
        cudagraph_mode=mode,
    )
    space["post_init_cudagraph_sizes"](config, *([] if limit is None else [limit]))
    return config.compile_sizes, warnings


@pytest.fixture
def method(patched: Any, extract: Extract) -> str:
    return extract(patched("vllm/compile-sizes").after(CONFIG), METHOD)


@pytest.fixture
def method_before(patched: Any, extract: Extract) -> str:
    return extract(patched("vllm/compile-sizes").before(CONFIG), METHOD)


def test_unique_and_ascending(method: str, method_before: str) -> None:
    mixed = [64, 8, "cudagraph_capture_sizes", 16]
    assert settled(method, mixed)[0] == [1, 2, 4, 8, 16, 64]
    assert len(settled(method_before, mixed)[0]) == 8
    assert settled(method, None)[0] == settled(method, [])[0] == []


def test_same_order_in_every_process(method: str, method_before: str) -> None:
    """The list is hashed in order into the key of the compile cache; Python orders a set by hashes it draws anew."""

    def orders(source: str) -> set[str]:
        code = (
            f"{source}\nfrom types import SimpleNamespace\n"
            "c = SimpleNamespace(compile_sizes=[100, 'cudagraph_capture_sizes'], cudagraph_capture_sizes=[1, 2],\n"
            "                    max_cudagraph_capture_size=2, cudagraph_mode=None)\n"
            "post_init_cudagraph_sizes(c)\nprint(c.compile_sizes)"
        )
        return {
            subprocess.run(
                [sys.executable, "-S", "-c", code],
                env=os.environ | {"PYTHONHASHSEED": str(seed)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in range(8)
        }

    assert orders(method) == {"[1, 2, 100]\n"}
    assert len(orders(method_before)) == 2


@pytest.mark.parametrize("wrong", ["cudagraph_capture_size", "8", 0, -1, 2.5])
def test_rejects_what_is_not_a_size(wrong: Any, method: str, method_before: str) -> None:
    with pytest.raises(ValueError, match=f"got {wrong!r}"):
        settled(method, [4, wrong])
    with pytest.raises(AssertionError) if wrong not in (0, -1) else nullcontext():
        settled(method_before, [4, wrong])


def test_drops_what_no_batch_can_have(method: str) -> None:
    sizes, warnings = settled(method, [4096, 16, 2048, 2049], limit=2048)
    assert sizes == [16, 2048]
    assert len(warnings) == 1 and "[2049, 4096]" in warnings[0] and "max_num_batched_tokens=2048" in warnings[0]
    assert settled(method, [4096]) == ([4096], [])


def test_the_limit_is_max_num_batched_tokens(patched: Any, extract: Extract) -> None:
    """VllmConfig hands it over; without the patch nothing limits the sizes."""
    patch = patched("vllm/compile-sizes")
    for source, handed in ((patch.after(VLLM), (2048,)), (patch.before(VLLM), ())):
        space: dict[str, Any] = {}
        exec(extract(source, "VllmConfig._set_cudagraph_sizes"), space)
        config = SimpleNamespace(
            model_config=None,
            scheduler_config=SimpleNamespace(max_num_batched_tokens=2048),
            compilation_config=MagicMock(),
        )
        space["_set_cudagraph_sizes"](config)
        config.compilation_config.post_init_cudagraph_sizes.assert_called_once_with(*handed)


def test_says_what_is_compiled_but_padded_away(method: str, method_before: str) -> None:
    sizes, warnings = settled(method, [3, 8, 12, 40])
    assert sizes == [3, 8, 12, 40]
    assert len(warnings) == 1 and "[3, 12]" in warnings[0] and "FULL_AND_PIECEWISE" in warnings[0]
    assert settled(method_before, [3, 8, 12, 40])[1] == []
    assert settled(method, [3, 12], mixed=False)[1] == []
    assert settled(method, [3, 12], captured=[])[1] == []


@pytest.mark.e2e
def test_through_vllms_own_configuration(patched: Any) -> None:
    tree = patched("vllm/compile-sizes").tree
    vllm = pytest.importorskip("vllm", reason="NOT TESTED: vLLM is not installed (`python3 build.py develop`)")
    if tree.resolve() not in Path(vllm.__file__).resolve().parents:
        pytest.skip(f"NOT TESTED: the vLLM installed is {vllm.__file__}, not {tree}")
    from vllm.config import CompilationConfig, SchedulerConfig, VllmConfig

    sizes = [512, 16, "cudagraph_capture_sizes", 16, 256]
    config = VllmConfig(
        scheduler_config=SchedulerConfig.default_factory(max_num_batched_tokens=256, max_model_len=256),
        compilation_config=CompilationConfig(compile_sizes=sizes),
    )
    config._set_cudagraph_sizes()  # platforms without static graphs, such as the CPU, leave it out of __post_init__
    assert config.compilation_config.compile_sizes == [16, 256]
    config.compilation_config.compile_sizes = ["capture"]
    with pytest.raises(ValueError, match="'capture'"):
        config._set_cudagraph_sizes()
