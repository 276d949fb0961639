"""SQL over the records."""

from __future__ import annotations

from collections import Counter
from types import ModuleType

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.records.query import query
from tunefork.bench.records.schema import Submission, utc_now
from tunefork.bench.records.store import CLIENT, RECORD, Store


def test_records_patches_requests_and_submissions(store: Store, samples: ModuleType) -> None:
    good, bad = samples.passed(), samples.failed()
    folder = store.write(good, samples.FILES)
    store.write(bad, {})
    sent = Submission(state="complete", url="http://x", team="t", data=("t", 1, None), started=utc_now(), event_id="e", answer="ok")
    (folder / "submission-1.json").write_text(sent.model_dump_json())
    answer = query(store, "SELECT id, status, score_interactivity, variant, \"commit\", scenario_conc, problem FROM records ORDER BY status")
    assert answer.columns == ("id", "status", "score_interactivity", "variant", "commit", "scenario_conc", "problem")
    assert answer.rows == ((bad.id, "failed", None, "only:a", "b" * 40, 2, "3 of 20 requests failed"),
                           (good.id, "passed", 50.0, "only:a", "b" * 40, 2, None))
    assert query(store, "SELECT upstream, position, patch FROM patches WHERE record = '" + good.id + "'").rows == (("vllm", 0, "a"),)
    assert query(store, "SELECT state, team, answer FROM submissions").rows == (("complete", "t", "ok"),)
    rows = query(store, "SELECT request, ttft_ms, e2el_ms, tpot_ms, input_len, output_len FROM requests ORDER BY request").rows
    assert rows[0] == (0, 100.0, pytest.approx(140.0), pytest.approx(20.0), 8, 3)
    assert len(rows) == 2


def test_a_damaged_record_is_named_and_not_counted(store: Store, samples: ModuleType) -> None:
    (store.write(samples.passed(), {}) / RECORD).write_text("{}")
    good = samples.passed()
    store.write(good, {})
    assert query(store, "SELECT id FROM records").rows == ((good.id,),)
    assert "is not what its manifest says" in query(store, "SELECT message FROM damaged").rows[0][0]


def test_an_empty_store_has_the_tables(store: Store) -> None:
    assert query(store, "SELECT id, score_tput_per_gpu, variant FROM records").rows == ()


@pytest.mark.parametrize("sql", ["DROP TABLE records", "SELECT nothing FROM records", "", "SELECT 1; SELECT 2", "ATTACH '/tmp/x' AS y",
                                 "INSERT INTO damaged VALUES (1, 2)", "INSERT INTO damaged VALUES (1, 2) RETURNING *", "PRAGMA user_version"])
def test_only_one_select(store: Store, sql: str) -> None:
    with pytest.raises(BadInput, match="--sql"):
        query(store, sql)


def test_every_record_is_read_once_and_its_samples_only_where_asked_for(store: Store, samples: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a query costs is what it reads; how long that takes is for `bench query` on a quiet machine."""
    monkeypatch.setattr("tunefork.bench.records.store.os.fsync", lambda _handle: None)
    for _ in range(100):
        store.write(samples.passed(), samples.FILES)
    raw, asked = store.raw, Counter[str]()

    def counted(record_id: str, name: str) -> bytes:
        asked[name] += 1
        return raw(record_id, name)

    monkeypatch.setattr(store, "raw", counted)
    assert query(store, "SELECT count(*), avg(score_interactivity) FROM records").rows == ((100, 50.0),)
    assert asked == {RECORD: 100}
    asked.clear()
    assert query(store, "SELECT count(*) FROM requests").rows == ((200,),)
    assert asked == {RECORD: 100, CLIENT: 100}
    asked.clear()
    for sql in ("SELECT count(*) FROM records", "SELECT count(*) FROM requests"):
        query(store, sql)
    assert asked == {}, "what was read once is in the index"
    store.write(samples.passed(), samples.FILES)
    assert query(store, "SELECT count(*) FROM requests").rows == ((202,),) and asked == {RECORD: 1, CLIENT: 1}
    query(store, "SELECT 1 FROM records", fresh=True)
    assert asked[RECORD] == 102
