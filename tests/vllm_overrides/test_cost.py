"""The cost models: against figures measured elsewhere, and at the edges of a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunefork.kernels.model import GPT_OSS_120B
from vllm_overrides.capture.cost import ByteModel, TableModel, read_table
from vllm_overrides.errors import OverrideError


# (tokens, experts hit, MB of one layer's experts at TP 1) as counted with random routing on a GPU
@pytest.mark.parametrize(("rows", "hit", "megabytes"), [(1, 4, 53), (4, 15.2, 200), (16, 51.5, 681), (64, 112, 1478), (1024, 128, 1692)])
def test_experts_and_bytes_as_counted(rows: int, hit: float, megabytes: float) -> None:
    model = ByteModel()
    assert model.experts_hit(rows) == pytest.approx(hit, rel=0.02)
    assert model.experts_hit(rows) * GPT_OSS_120B.expert_bytes() / 1e6 == pytest.approx(megabytes, rel=0.02)


def test_the_whole_model_weighs_what_its_checkpoint_does() -> None:
    """GPT-OSS-120B's published checkpoint is 60.8 GiB, of which the embedding (1.16 GB) is not read in a step."""
    every = GPT_OSS_120B.dense_bytes(1) + 36 * 128 * GPT_OSS_120B.expert_bytes() + 2 * 201088 * 2880
    assert every / 2**30 == pytest.approx(60.8, rel=0.01)


def test_what_every_step_reads() -> None:
    """Per layer q and o of 64 heads, k and v of 8, and the router; the head once."""
    layer = 2880 * (4096 + 512 + 512) + 4096 * 2880 + 2880 * 128
    assert GPT_OSS_120B.dense_bytes(1) == 2 * (36 * layer + 201088 * 2880)


def test_what_padding_reads() -> None:
    independent, alike = ByteModel(padding="independent"), ByteModel(padding="one-row")
    assert independent.seconds(4, 4) == alike.seconds(4, 4)
    assert independent.seconds(4, 16) == independent.seconds(16, 16) == alike.seconds(16, 16)
    assert alike.seconds(4, 16) == alike.seconds(4, 5) == alike.seconds(5, 5)
    with pytest.raises(OverrideError, match="'none'"):
        ByteModel(padding="none")


def test_tensor_parallel_splits_all_but_the_router() -> None:
    router = 2 * 36 * 2880 * 128 / 8e12
    assert ByteModel(tp=8).seconds(4, 4) - router == pytest.approx((ByteModel().seconds(4, 4) - router) / 8)


def test_a_table_between_and_outside_its_points() -> None:
    table = TableModel(((2, 0.004), (4, 0.006), (8, 0.007)), "here")
    assert [table.seconds(1, rows) for rows in (1, 2, 3, 4, 5, 8)] == pytest.approx([0.004, 0.004, 0.005, 0.006, 0.00625, 0.007])
    assert table.seconds(1, 12) == pytest.approx(0.008) and TableModel(((2, 0.004), (4, 0.003)), "").seconds(1, 8) == 0.003
    assert TableModel(((2, 0.004),), "").seconds(1, 8) == 0.004
    assert table.extra_sizes() == ()
    assert TableModel(((2, 0.004), (4, 0.003)), "").extra_sizes() == (2, 4)


def test_a_workload_beyond_the_table_is_refused_where_it_matters() -> None:
    table = TableModel(((1, 0.004), (8, 0.007)), "here")
    table.require(8, [4096])
    with pytest.raises(OverrideError, match="ends at 8 rows, the workload has decode steps of up to 9"):
        table.require(9, [4])
    with pytest.raises(OverrideError, match="ends at 8 rows, the workload has steps with prefill of up to 4096") as caught:
        TableModel(table.points, "here", eager_seconds=0.01).require(8, [40, 4096])
    assert "eager_seconds" in caught.value.remedy


def test_reads_a_table(tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    file.write_text(json.dumps({"seconds": {"8": 0.007, "1": 0.004}, "eager_seconds": 0.003, "source": "MI355X, today"}))
    assert read_table(file) == TableModel(((1, 0.004), (8, 0.007)), "MI355X, today", 0.003)


def test_the_price_of_a_step_outside_graphs_may_depend_on_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    file.write_text(json.dumps({"seconds": {"1": 0.004, "2048": 0.06}, "eager_seconds": {"1024": 0.06, "2048": 0}, "source": "here"}))
    table = read_table(file)
    assert [table.eager(rows) for rows in (1, 1024, 1536, 2048, 4096)] == pytest.approx([0.06, 0.06, 0.03, 0, 0])
    assert table.eager_seconds == 0.06
    table.require(8, [1024, 4096])  # a graph for 4096 rows cannot pay
    with pytest.raises(OverrideError, match="steps with prefill of up to 1500"):
        TableModel(((1, 0.004), (1024, 0.06)), "here", 0.06, table.eager_points).require(8, [1500, 4096])


@pytest.mark.parametrize("text", ["", "[]", '{"seconds": {}}', '{"seconds": {"0": 1}}', '{"seconds": {"1": 0}}', '{"seconds": {"a": 1}}', '{"s": 1}',
                                  '{"seconds": {"1": NaN}}', '{"seconds": {"1": 1}, "eager_seconds": Infinity}',
                                  '{"seconds": {"1": 1}, "eager_seconds": {}}', '{"seconds": {"1": 1}, "eager_seconds": {"4": -1}}'])
def test_says_what_a_table_looks_like(text: str, tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    file.write_text(text)
    with pytest.raises(OverrideError, match=r"steps\.json") as caught:
        read_table(file)
    assert '"seconds"' in caught.value.remedy
