"""The live page and the report: whole, offline, in one file, with nothing of others that runs; and what they say."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loading import module

from tunefork.bench.campaign import book, clock, page, report, result, run
from tunefork.bench.campaign.candidate import Rejected
from tunefork.bench.campaign.day import Block, Day
from tunefork.bench.campaign.racing import Start

PROBE = """
return { title: document.querySelector("h1").textContent, rows: document.querySelectorAll("#candidates-table tbody tr").length,
  day: document.querySelectorAll("#day svg rect").length, starts: document.querySelectorAll("#starts tbody tr").length,
  sections: [...document.querySelectorAll("h2")].map((one) => one.textContent), said: document.querySelector(".verdict").textContent,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  requests: performance.getEntriesByType("resource").map((one) => one.name).filter((one) => !one.startsWith("data:")) };
"""


def day_of(desk: Any, made: Any, **changes: Any) -> tuple[Any, list[str]]:
    """A day that went well, and the page after each of its steps."""
    seen: list[str] = []

    def show(going: run.Going, what: str) -> None:
        path = page.write(desk.folder, made, going.journal.rows, run.conclude(going, ""), going.clock.used_s() / 60, what)
        seen.append(path.read_text())

    return run.run(desk.folder, made, desk.fake(made, **changes), lambda _line: None, show, desk.time.sources()), seen


def test_it_is_rewritten_with_every_step_and_is_always_whole(desk: Any) -> None:
    made = desk.plan_of()
    found, seen = day_of(desk, made)
    assert len(seen) > 30 and all(one.startswith("<!doctype html>") and one.endswith("</html>") for one in seen)
    assert all('http-equiv="refresh"' in one for one in seen[:-1]) and 'http-equiv="refresh"' not in seen[-1]
    assert page.proposal(found).replace("+", "&#43;")[:20] in seen[-1].replace("+", "&#43;")
    assert not re.search(r'(src|href)="(?!data:)', seen[-1]), "nothing is loaded"
    assert [path.name for path in desk.folder.glob("index.html*")] == ["index.html"]
    wide = re.findall(r'<div class="scroll"[^>]*>', seen[-1])
    assert len(wide) >= 6 and all('tabindex="0"' in one and "aria-label=" in one for one in wide), "by keys, too, what is wide can be moved"
    assert not re.search(r"<th[^>]*></th>", seen[-1]) and seen[-1].count("min-width:700px") == 2
    assert ">A/A" not in seen[-1] and "race 0" in seen[-1] and "confirm" in seen[-1]


def test_what_others_wrote_is_escaped(desk: Any) -> None:
    nasty = "<script>alert(1)</script>"
    made = replace(desk.plan_of(), rejected=(Rejected("x", nasty),), left_out=(nasty,))
    from tunefork.bench.campaign.runner import Given

    _, seen = day_of(desk, made, fault=lambda one: Given(None, nasty) if one.arm == ("bad",) and one.block >= 0 else None)
    assert "<script" not in seen[-1] and seen[-1].count("&lt;script&gt;") >= 3


def test_the_overhead_between_two_starts_is_small(desk: Any) -> None:
    """Deciding, writing down and the page: CPU seconds per start of a whole day; 0.05 s on two busy cores."""
    import time

    made = desk.plan_of(hours=12.0)
    begun = time.process_time()
    day_of(desk, made)
    starts = sum(key.startswith("start:") for key in book.rows(desk.folder))
    assert starts > 40 and (time.process_time() - begun) / starts < 2


def test_the_report_says_merge_drop_and_what_it_costs_to_decide(desk: Any) -> None:
    made = replace(desk.plan_of(), left_out=("later",), rejected=(Rejected("odd", "it takes 8 GPUs, the campaign has 1"),))
    found, _ = day_of(desk, made)
    runner = desk.fake(made)
    text = report.document(made, found, runner.confirmed(), [], clock.peek(desk.folder / run.CLOCK, desk.time.sources()) / 60)
    merge, drop, undecided = (text.partition(f"## {title}\n")[2].partition("\n## ")[0] for title in ("Merge", "Drop", "Undecided"))
    assert "| good |" in merge and "| bad |" in drop
    assert "minutes to decide" in undecided and "| null" in undecided + drop
    assert "- later: does not fit into 8 hours" in text and "- odd: it takes 8 GPUs" in text
    assert "against **reference**" in text and "## Confirmation, for a pull request" in text
    assert text.count("\n\n\n") <= 1


def test_before_it_begins_everything_is_undecided(desk: Any) -> None:
    made = desk.plan_of()
    found = result.result(made, book.day(made, {}), None, None, "not begun")
    assert {one.advice for one in found.lines} == {"undecided"} and found.arm == () and found.certainty is None
    text = page.page(made, {}, found, 0.0, "")
    assert "nothing is known to be better" in text and all(one.decides in text for one in made.steps), "the plan as a picture and a table"


def test_what_is_not_confirmed_is_as_sure_as_its_noise_is_known(desk: Any) -> None:
    """Two starts of the reference that differ by 0.02, so SD 0.02 / sqrt 2 from one degree of freedom: t's 2.5 % point is 12.706, the normal's 1.96."""
    made = desk.plan_of()
    starts = [Start(0, slot, arm, value) for slot, (arm, value) in enumerate(((("good",), 0.5), ((), 0.01), ((), -0.01)))]
    day = Day(made.rules, blocks=[Block(0, "race", (("good",), (), ()))], starts=starts)
    found, belief = result.result(made, day, None, None, "w"), day.belief()
    assert day.known()[0].df == 1 and found.arm == ("good",) and found.gain is not None and found.low is not None and found.certainty is not None
    assert math.log1p(found.gain) - math.log1p(found.low) == pytest.approx(12.706 * belief.spread(("good",)), rel=1e-4)
    t = belief.gain(("good",)) / belief.spread(("good",))
    assert found.certainty == pytest.approx(0.5 + math.atan(t) / math.pi), "Student's t of one degree of freedom is Cauchy's"
    blind = result.result(made, Day(made.rules, blocks=[Block(0, "race", (("good",), ()))], starts=starts[:2]), None, None, "w")
    assert (blind.low, blind.high, blind.certainty) == (None, None, None) and "no interval: nothing tells the noise yet" in page.proposal(blind)


@pytest.mark.slow
def test_undecided_costs_grow_with_the_noise(desk: Any) -> None:
    made = desk.plan_of()
    quiet, _ = day_of(desk, made, noise=0.005)
    shutil.rmtree(desk.folder)
    desk.folder.mkdir()
    loud, _ = day_of(desk, made, noise=0.03)

    def most(found: Any) -> float:
        return max((one.minutes or 0.0 for one in found.lines if one.advice == "undecided"), default=0.0)

    assert most(loud) > most(quiet)


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    """The report's browser."""
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("NO BROWSER HERE: that the live page works in one is not tested (install chromium)")
    report = module("report_conftest", Path(__file__).parents[1] / "report" / "conftest.py")
    return report.browse.__wrapped__(tmp_path, report.chromium.__wrapped__())


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_it_works_offline_in_a_browser(desk: Any, browse: Any, width: int) -> None:
    made = desk.plan_of()
    day_of(desk, made)
    found, console = browse(desk.folder / page.FILE, PROBE, width)
    assert (console, found["requests"]) == ([], [])
    assert found["title"] == "Campaign day: profile smoke"
    assert found["rows"] == 6 and found["day"] > 20 and found["starts"] > 20
    assert found["sections"] == ["Result", "The day", "As planned", "Candidates", "Starts", "Not tried"]
    assert found["said"].startswith("The best so far is ") and found["overflow"] <= 0
