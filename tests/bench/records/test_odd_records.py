"""Records with odd keys and texts: `bench query` answers and the report shows every one. The fuzz draws 1,000; `--long` 4,000."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import budgets
import pytest

from tunefork.bench.records import brief
from tunefork.bench.records.query import query
from tunefork.bench.records.schema import Problem, Record
from tunefork.bench.records.store import CLIENT, Store
from tunefork.bench.records.tables import named
from tunefork.bench.report import page, points

NASTY = ["<!--<script>", "</script><b>", "]]>", "--><", "\u2028", "[rank0]", "\x1b[2J", "%{x}", "<extra>", '"', "\\", "\0", "'); DROP TABLE records;--", "é", "😀", "", " "]
BLOCK = re.compile(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>')


class Given(Store):
    """A store that has its records at hand: what is tried is not the disk."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__(Path("/nowhere"))
        self.given = {one.id: one for one in records}

    def ids(self) -> list[str]:
        return list(self.given)

    def read(self, record_id: str) -> Record:
        return self.given[record_id]

    def path(self, record_id: str) -> Any:
        return self.folder


def odd(draw: random.Random, samples: ModuleType, number: int) -> Record:
    """A record that passes the schema, with keys and texts from anywhere."""

    def text() -> str:
        parts = draw.choices([*NASTY, *string.ascii_letters, "_", "-", chr(draw.randrange(1, 0xD7FF)), chr(draw.randrange(0xE000, 0x10FFFF))], k=draw.randrange(5))
        return "".join(parts)

    keys = [text() for _ in range(draw.randrange(4))] + draw.choices(["Key", "key", "KEY", "kEy_2", "rest", "a_b"], k=2)
    changes: dict[str, Any] = {
        "id": f"odd-{number}", "labels": {key: text() for key in keys}, "versions": {key.swapcase(): text() for key in keys},
        "metrics": {key: draw.choice([0.0, -1e308, 1e-320, float(2**70)]) for key in keys}, "profile": text(), "project": text(), "trial": text(),
        "server": samples.SERVER.model_copy(update={"env": {key: text() for key in keys}, "version": text()}),
        "host": samples.HOST.model_copy(update={"name": text(), "gpus": (text(),), "cores": draw.choice([1, 2**63, 10**400])}),
        "trees": (samples.TREE.model_copy(update={"variant": text(), "patches": (text(),)}),),
    }  # fmt: skip
    if draw.random() < 0.3:
        return samples.failed(**{**changes, "problems": (Problem(kind=text(), message=text()),)})
    return samples.passed(**changes)


def check(records: list[Record]) -> None:
    answer = query(Given(records), "SELECT * FROM records")
    assert len(answer.rows) == len(records) and len({name.lower() for name in answer.columns}) == len(answer.columns)
    ids = answer.columns.index("id")
    assert [row[ids] for row in answer.rows] == [one.id for one in records]
    shown = [brief.of(one) for one in records]
    html = page.page(shown, ["<!--<script> damaged"], [], list(points.panels(shown)), [], "now")
    blocks = BLOCK.findall(html)
    assert len(blocks) == 1 and len(json.loads(zlib.decompress(base64.b64decode(blocks[0]), -15))["rows"]) == len(records)
    before = html.partition('id="data"')[0]
    assert "<!--" not in before.removeprefix("<!doctype html>") and "<script>" not in before


def test_odd_records(samples: ModuleType) -> None:
    draw = random.Random(15)
    total, step = max(1000, budgets.examples(4000)), 250  # 100,000 with TUNEFORK_EXAMPLES=2500
    for first in range(0, total, step):
        check([odd(draw, samples, number) for number in range(first, first + step)])


def test_keys_that_differ_in_case_are_both_there(samples: ModuleType) -> None:
    record = samples.passed(labels={"Foo": "1", "foo": "2", "FOO_2": "3"})
    answer = query(Given([record]), "SELECT * FROM records")
    found = {name: value for name, value in zip(answer.columns, answer.rows[0], strict=True) if name.lower().startswith("labels_foo")}
    assert sorted(found.values()) == ["1", "2", "3"] and len(found) == 3


def test_more_columns_than_sqlite_takes(samples: ModuleType) -> None:
    """The rarest fields are JSON in one column; none is lost."""
    record = samples.passed(metrics={f"metric{number}": float(number) for number in range(5000)})
    store = Given([record, samples.passed(), samples.passed()])
    assert query(store, "SELECT json_extract(rest, '$.metrics_metric4999') FROM records WHERE rest IS NOT NULL").rows == ((4999.0,),)
    assert query(store, "SELECT metrics_metric0, metrics_median_tpot_ms FROM records").rows == ((0.0, None), (None, 20.0), (None, 20.0))
    assert len(named([{str(number): 1 for number in range(5000)}], {})) < 1000


@pytest.mark.parametrize("told", [b"[]", b"{}", b'{"ttfts": null}', b'{"ttfts": [1], "itls": [["x"]], "input_lens": [1], "output_lens": [2]}', b"{half",
                                  b'{"ttfts": [1e999], "itls": [[1]], "input_lens": [1], "output_lens": ["2"]}'])  # fmt: skip
def test_samples_that_are_none_name_the_record(store: Store, samples: ModuleType, told: bytes) -> None:
    import gzip

    good, bad = samples.passed(), samples.passed()
    store.write(good, samples.FILES)
    store.write(bad, {CLIENT: gzip.compress(told)})
    assert {row[0] for row in query(store, "SELECT DISTINCT record FROM requests").rows} == {good.id}
    assert [row[0] for row in query(store, "SELECT record FROM damaged, (SELECT 1 FROM requests LIMIT 1)").rows] in ([bad.id], [])


def test_a_chart_shows_names_as_they_are(samples: ModuleType) -> None:
    found = list(points.panels([brief.of(samples.passed(trees=(samples.TREE.model_copy(update={"variant": "<b>x</b>%{y}"}),)))]))
    from tunefork.bench.report import charts

    told = json.dumps([charts.scatter(panel, x) for panel in found for x in charts.AXES])
    assert "<b>" not in told and "%{y}<" not in told and "&lt;b&gt;" in told
