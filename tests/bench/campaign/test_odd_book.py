"""A campaign's journal that was handed over, its sums right and its rows odd: one line or a result, never a traceback."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from budgets import examples

from tunefork.base.errors import BadInput
from tunefork.bench.campaign import book, page, result, run
from tunefork.bench.campaign.planned import Planned
from tunefork.bench.kernels.journal import HEADER, line_of, read

ODD: list[Any] = [None, True, -1, 0, 10**30, 1e308, "x", "", [], ["x"], [["x"]], {}, {"a": 1}, "\x1b[2J", [None], -5.5, "1"]


def finished(desk: Any) -> Planned:
    """A day that came to its end, its journal in the desk's folder."""
    made: Planned = desk.plan_of()
    run.run(desk.folder, made, desk.fake(made), lambda _line: None, lambda _going, _what: None, desk.time.sources())
    return made


def looked(where: Path, planned: Planned) -> None:
    """As `campaign status` and its page read it."""
    rows = book.rows(where)
    day = book.day(planned, rows)
    found = result.result(planned, day, None, rows.get("step:final"), str(rows.get("finish", {}).get("why", "")))
    page.page(planned, rows, found, 30.0, "ended")


def test_rows_with_odd_values(desk: Any) -> None:
    made, where = finished(desk), desk.folder
    looked(where, made)
    good, _ = read(where / book.FILE)
    drawn, refused = random.Random(15), 0
    for _ in range(examples(1200)):
        rows = {key: json.loads(json.dumps(row)) for key, row in good.items()}
        for _ in range(drawn.choice([1, 1, 2])):
            key = drawn.choice([key for key in rows if key != HEADER])
            how = drawn.random()
            if how < 0.6 and rows[key]:
                rows[key][drawn.choice(list(rows[key]))] = drawn.choice(ODD)
            elif how < 0.75 and rows[key]:
                del rows[key][drawn.choice(list(rows[key]))]
            else:
                kind = key.partition(":")[0]
                rows[drawn.choice([f"{kind}:{drawn.choice(['x', '-1', '', '99999999999', '1-x'])}", kind, "lanes:x", "lanes:-3", "odd"])] = rows.pop(key)
        (where / book.FILE).write_bytes(b"".join(line_of(key, row) for key, row in rows.items()))
        try:
            looked(where, made)
        except BadInput as error:
            refused += 1
            assert "\n" not in error.message
    assert refused > examples(1200) // 4


@pytest.mark.slow
@pytest.mark.parametrize("row", [[], "x", 5, None])
def test_a_row_that_is_no_object_is_damage(row: Any, desk: Any) -> None:
    made = finished(desk)
    path = desk.folder / book.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + line_of("finish", row) + b"".join(lines[1:]))
    with pytest.raises(BadInput, match="line 2 is damaged"):
        looked(desk.folder, made)
