"""Kernels compiled ahead of a start: the same ones that the launches ask for, each once, without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tunefork.kernels import warming
from tunefork.kernels.moe_a16w4.config import MoeShape, pick
from tunefork.kernels.moe_a16w4.plan import Case, buffers, plan
from tunefork.kernels.warming import wanted

SIZES = (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))  # vLLM's default capture sizes up to 512
SHAPE = MoeShape(2880, 2880, 128)


def test_51_capture_sizes_ask_for_41_kernels_each_once() -> None:
    jobs = list(wanted("sm90", SHAPE, SIZES))
    assert len(SIZES) == 51 and len(jobs) == 41
    kernels = Counter(plan(job.case, pick("sm90", SHAPE, job.case.tokens))[job.at].kernel.__name__ for job in jobs)
    assert kernels["up_tiled_kernel"] == kernels["down_tiled_kernel"] == kernels["interleave_kernel"] == 1


def test_every_launch_of_every_size_is_among_them() -> None:
    """Asked size by size, nothing comes that all sizes together leave out."""
    def told(tokens: tuple[int, ...]) -> set[str]:
        found = set()
        for job in wanted("sm90", SHAPE, tokens):
            config = pick("sm90", SHAPE, job.case.tokens)
            step = plan(job.case, config)[job.at]
            ints = {name: (job.case.tokens % 16 == 0, job.case.tokens == 1) for name, key in step.bind.items() if key == "M"}
            kinds = {name: buffers(job.case, config)[key][1] for name, key in step.bind.items() if key == "part"}
            found.add(repr((step.kernel.__name__, sorted(step.constants.items(), key=str), step.warps, step.options, ints, kinds)))
        return found

    together = told(SIZES)
    assert all(told((tokens,)) <= together for tokens in SIZES)


def test_what_changes_the_code_is_compiled_for_itself() -> None:
    one = len(list(wanted("sm90", SHAPE, (4,))))
    both = list(wanted("sm90", SHAPE, (4,), live=(True, False)))
    assert one < len(both) <= 2 * one
    assert {job.case.has_live for job in both} == {True, False}
    (case,) = {job.case for job in wanted("sm90", MoeShape(2880, 2880, 64), (4,), routed=128)}
    assert case == Case("sm90", MoeShape(2880, 2880, 64), 4, 128, has_live=True, has_map=True)


@pytest.mark.slow
def test_a_kernels_key_is_the_same_whichever_is_launched_first() -> None:
    """Up to Triton 3.7.1 it is not, unless all are hashed in one order: `settle_keys`."""
    names = ("up_kernel", "down_token_kernel", "down_sorted_kernel")
    code = ("import sys; from tunefork.kernels.moe_a16w4.plan import kernel, settle_keys; settle_keys(); "
            "print(sorted((name, getattr(kernel, name).cache_key) for name in sys.argv[1:]))")
    said = {subprocess.run([sys.executable, "-c", code, *order], capture_output=True, text=True, check=True).stdout for order in (names, names[::-1])}
    assert len(said) == 1


_KEYS = """
import json, sys
from triton.runtime.jit import JITFunction
from tunefork.kernels import warming
from tunefork.kernels.moe_a16w4.config import MoeShape, pick
from tunefork.kernels.moe_a16w4.launch import _run
from tunefork.kernels.moe_a16w4.plan import Case, plan
from tunefork.kernels.warming import compile_step
found = set()
JITFunction.run = lambda self, *_, **__: found.add((self.fn.__name__, self.cache_key))
case, config = Case("sm90", MoeShape(2880, 2880, 128), 64, 128), pick("sm90", MoeShape(2880, 2880, 128), 64)
steps = plan(case, config)
for at in map(int, sys.argv[2:]):
    if sys.argv[1] == "compile":
        compile_step(case, config, steps[at])
    else:
        _run(steps[at], {key: 1 for key in steps[at].bind.values() if key})
print(json.dumps(sorted(found)))
"""


@pytest.mark.slow
def test_a_step_is_launched_under_the_key_it_was_compiled_under_whichever_comes_first() -> None:
    """One step of a plan at a time, as a tuner's or a server's workers compile them and a tuner times them: no caller has to settle the keys itself."""
    orders = (("compile", "0", "1", "2"), ("compile", "2", "1", "0"), ("launch", "2", "1", "0"))
    said = {subprocess.run([sys.executable, "-c", _KEYS, *order], capture_output=True, text=True, check=True).stdout for order in orders}
    assert len(said) == 1
    assert [name for name, _ in json.loads(said.pop())] == ["down_sorted_kernel", "route_kernel", "up_kernel"]


def test_of_many_workers_that_ask_for_the_same_one_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Under TP 8 eight processes compiled the same kernels at once, on every core each."""
    monkeypatch.setattr("triton.knobs.cache.dir", str(tmp_path))
    compiled: list[int] = []
    monkeypatch.setattr(warming, "warm", lambda jobs, processes: compiled.append(len(jobs)) or [])
    words = ["sm90", "--intermediate", "360", "--tokens", "1", "--once"]
    with warming.sole(words) as alone:
        assert alone
        assert warming.main(words) == 0 and compiled == []
        assert warming.main([*words[:4], "2", "--once"]) == 0 and len(compiled) == 1, "other sizes are other kernels"
        assert warming.main(words[:-1]) == 0 and len(compiled) == 2, "whoever types it gets it"
    assert warming.main(words) == 0 and len(compiled) == 3
    assert capsys.readouterr().out.count("another process compiles the same") == 1


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
def test_the_command_fills_tritons_cache_without_a_gpu_and_finds_it_filled(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    argv = [sys.executable, "-m", "tunefork.kernels.warming", arch, "--intermediate", "360", "--tokens", "1", "8", "--processes", "2"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    jobs = len(list(wanted(arch, MoeShape(2880, 360, 128), (1, 8))))
    assert said == f"{jobs} of {jobs} kernels are in Triton's cache\n"
    texts = {".cubin" if arch == "sm90" else ".hsaco"}
    made = sorted(path for path in tmp_path.rglob("*") if path.suffix in texts)
    assert len(made) == jobs
    subprocess.run(argv, check=True, capture_output=True)
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix in texts) == made
