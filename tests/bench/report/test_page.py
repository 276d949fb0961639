"""The report in a browser without a network, its speed, and that it escapes, separates chips and tells what it leaves out."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.ab import evidence
from tunefork.bench.ab.outcome import outcomes
from tunefork.bench.records import brief
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store
from tunefork.bench.report import build, charts, forest, page, points
from tunefork.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
StoreOf = Callable[[list[Record]], Store]
Browse = Callable[[Path, str, int], tuple[Any, list[str]]]

PROBE = """
const search = document.getElementById("search"), rows = () => document.querySelectorAll("#records tbody tr").length;
const count = () => document.getElementById("count").textContent;
const before = [rows(), count()];
search.value = "conc32 slow-router"; search.dispatchEvent(new Event("input"));
const narrowed = [rows(), count()];
search.value = ""; search.dispatchEvent(new Event("input"));
document.querySelectorAll("#records th button")[10].click();
const first = Number(document.querySelector("#records tbody tr").children[10].textContent);
document.querySelectorAll("#records th button")[10].click();
const last = Number(document.querySelector("#records tbody tr").children[10].textContent);
document.getElementById("more").click();
dispatchEvent(new KeyboardEvent("keydown", { key: "/" }));
const light = getComputedStyle(document.body).backgroundColor;
document.getElementById("theme").click();
const dark = getComputedStyle(document.body).backgroundColor;
const forests = [...document.querySelectorAll("table.forest")], lines = (one) => [...one.querySelectorAll("tbody tr")];
const zeros = forests.flatMap(lines).map((one) => one.querySelector(".zero").getBoundingClientRect().height);
return { rows: forests.map((one) => lines(one).length), heights: forests.flatMap(lines).map((one) => Math.round(one.getBoundingClientRect().height)), zeros,
  before, narrowed, first, last, all: rows(), focused: document.activeElement.id, light, dark,
  charts: [...document.querySelectorAll("[id^=chart-]")].map((one) => one.querySelectorAll(".trace").length),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, width: innerWidth,
  requests: performance.getEntriesByType("resource").map((one) => one.name).filter((one) => !one.startsWith("data:")) };
"""


@pytest.fixture(scope="module")
def html(thousand: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    build.write(build.gather(thousand), out=out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])  # headless Chromium's narrowest window; a phone's 390 is in docs/img
def test_it_works_offline_in_a_browser(html: Path, browse: Browse, width: int) -> None:
    found, console = browse(html, PROBE, width)
    assert console == []
    assert found["requests"] == []
    assert found["before"] == [200, "1000 of 1000 records, the first 200 shown"]
    assert found["narrowed"] == [6, "6 of 1000 records"], "six trials of the slow arm at CONC 32"
    assert found["first"] < found["last"], "ascending, then descending"
    assert (found["all"], found["focused"]) == (1000, "search")
    assert found["light"] != found["dark"]
    assert len(found["charts"]) == 2 and all(found["charts"]), "two scatters, with traces drawn"
    assert found["rows"] == [9, 3], "a row per scenario in each experiment's chart"
    assert len(set(found["heights"][:9])) == 1, "evenly spaced"
    assert min(found["zeros"]) > 20, "the line of A is drawn in every row"
    assert found["overflow"] <= 0, "nothing is wider than the screen"


@pytest.mark.slow
def test_a_thousand_records_take_less_than_five_seconds(thousand: Store, tmp_path: Path) -> None:
    root = thousand.folder.parents[1]
    command = [sys.executable, str(ROOT / "build.py"), "--no-venv", "bench", "report", "--out", str(tmp_path / "r.html")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env={**os.environ, "TUNEFORK_ROOT": str(root)}, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor seconds, which is what it takes on a quiet machine: others' work on this one must not fail it.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


def test_what_others_wrote_is_escaped(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script><b>"
    data = build.gather(store_of([samples.record(1, f"only:{nasty}"), samples.failed(2, nasty)]))
    build.write(data, out=tmp_path / "r.html", markdown_file=tmp_path / "r.md")
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text.replace("<\\/script><script>alert", "")
    assert "</script><script>alert" not in text


NODE = """
const fs = require("fs"), html = fs.readFileSync(process.argv[2], "utf8");
const kept = (name) => html.match(new RegExp(`<script type="text/plain" id="${name}">(.*?)</script>`))[1];
eval(fs.readFileSync(process.argv[3], "utf8") + ";globalThis.unpacked = unpacked");
(async () => {
  const data = JSON.parse(await unpacked(kept("data"))), plotly = await unpacked(kept("plotly"));
  new Function(plotly);  // it parses
  console.log(JSON.stringify({ rows: data.columns[0].length, last: data.columns.at(-1).at(-1), figures: data.figures.length, plotly: plotly.length }));
})();
"""


@pytest.mark.slow
def test_what_the_page_keeps_is_what_it_unpacks(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("NO BROWSER HERE: nor node, so what the page's script unpacks is not tested")
    nasty = "</script><!--<script> \u2028 é 😀"
    build.write(build.gather(store_of([samples.record(1), samples.failed(2, nasty)])), out=tmp_path / "r.html")
    (tmp_path / "probe.js").write_text(NODE)
    words = ["node", str(tmp_path / "probe.js"), str(tmp_path / "r.html"), str(Path(page.__file__).with_name("unpack.js"))]
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert (found["rows"], found["last"], found["figures"]) == (2, nasty, 2) and found["plotly"] > 1_000_000
    subprocess.run(["node", "--check", str(Path(page.__file__).with_name("page.js"))], check=True)


def test_failed_records_are_folded_with_their_reason(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    build.write(build.gather(store_of([samples.record(1), *(samples.failed(number) for number in (2, 3)), samples.failed(4, "no route")])),
                out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<details><summary>3 records did not pass, for 2 reasons</summary>" in text
    assert "<td>2</td><td>3 of 40 requests failed</td>" in text


def test_pairs_left_out_are_folded_with_their_reason(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    whole = samples.experiment("x", "base", "only:p", 1.0, pairs=4, concs=(4, 32))
    bad = [samples.failed(number, "one piece", labels=one.labels, scenario=one.scenario, trees=one.trees) if one.labels["arm"] == "B" else one
           for number, one in enumerate(whole, start=500)]
    build.write(build.gather(store_of([*bad, *samples.experiment("y", "base", "only:q", 1.05, first=900)])), out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<details><summary>8 pairs left out, for 1 reason</summary>" in text
    assert "<td>8</td><td>B failed: one piece</td><td>8192/1024 c4 pair 1, " in text
    assert re.search(r"<h3>x, <time>[\d-]+</time>( to <time>[\d-]+</time>)?, on simulated chip: no pair counts</h3>", text), "it has no chart, and a title"
    assert "p: <b>no verdict, every pair was spoiled</b>" in text


def test_the_targets_names_are_not_cut_at_a_charts_edge(samples: ModuleType) -> None:
    panel, = points.panels([brief.of(samples.record(1))])
    named = [trace for trace in charts.scatter(panel, "interactivity", {panel.points[0].record: 0})["data"] if "text" in trace["mode"]]
    assert named and all(trace["cliponaxis"] is False for trace in named)


def test_a_reader_sees_headline_patches_date_and_rejections_first(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    build.write(build.gather(store_of([*samples.experiment("x", "base", "base", 1.0), *samples.experiment("y", "base", "only:slow-step", 0.43, first=500)])),
                out=tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert 'slow-step: <b>2.3x slower</b>' in text
    assert text.index("slow-step: <b>") < text.index("base against itself: <b>"), "effects before calibrations"
    for says in ("Only in B: slow-step.", "2026-11-22", "Trials rejected: A 0, B 0", "higher is better", "&#9632; better"):
        assert says in text, says
    assert text.index('id="effects"') < text.index('id="noise"') < text.index('id="scores"')


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminals_plot_fits(samples: ModuleType, width: int) -> None:
    records = [*samples.experiment("x", "base", "only:a-patch-with-a-name", 1.05, comparison="c"), *samples.experiment("x", "base", "base", 1.0, first=99)]
    for found in (outcomes(map(evidence.of, records)), outcomes(map(evidence.of, records[:36]))):
        lines = forest.text(found, width)
        assert max(map(len, lines)) <= width, lines
        pictures = [line for line in lines[1:] if "#" in line and "estimate" not in line]
        assert len(pictures) == len(forest.rows(found)) and lines[0].index("A") == pictures[0].index("|")
        assert all(any(row.numbers in line for line in lines) for row in forest.rows(found))


@pytest.mark.parametrize("width", [100, 200])
def test_the_terminals_plot_has_the_same_intervals(samples: ModuleType, width: int) -> None:
    found = outcomes(map(evidence.of, samples.experiment("x", "base", "only:p", 1.05)))
    head, *rows, legend = forest.text(found, width)
    assert len(rows) == 3 and "A" in head and "95 %" in legend
    for line, row in zip(rows, forest.rows(found), strict=True):
        bar = line[len(line) - len(line.lstrip()) :]
        assert row.numbers in line
        zero, point = bar.index("|"), bar.index("#")
        assert (point > zero) == (row.middle > 0)
    assert len({line.index("|") for line in rows}) == 1, "one scale"
    assert forest.text([]) == [] and forest.html("t", "median_tpot_ms", []) == ""


def test_the_report_goes_into_work(samples: ModuleType, store_of: StoreOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_of([samples.record(1)])
    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "report"]) == 0
    assert (tmp_path / "work" / "report.html").is_file()
    assert not (tmp_path / "report.html").exists()


def test_chips_never_share_a_chart(samples: ModuleType, store_of: StoreOf) -> None:
    other = samples.HOST.model_copy(update={"gpus": ("another simulated chip",)})
    data = build.gather(store_of([samples.record(1), samples.record(2, host=other)]))
    assert sorted(panel.chip for panel in data.panels) == ["another simulated chip", "simulated chip"]
    assert all(len(panel.points) == 1 and panel.title.startswith(panel.chip) for panel in data.panels)


def test_a_damaged_record_is_told_and_left_out(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    store = store_of([samples.record(1), samples.record(2)])
    victim = store.folder / samples.record(2).id / "record.json"
    victim.write_text(victim.read_text()[:-40])
    data = build.gather(store)
    assert (len(data.records), len(data.damaged)) == (1, 1)
    build.write(data, out=tmp_path / "r.html")
    assert re.search(r"1 damaged and left out.*damaged: record \S+ is damaged", (tmp_path / "r.html").read_text(), re.DOTALL)


@pytest.mark.slow
def test_pictures_and_table(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    data = build.gather(store_of(samples.experiment("x", "base", "only:p", 1.05)))
    written = build.write(data, out=tmp_path / "r.html", png_folder=tmp_path / "png", markdown_file=tmp_path / "r.md")
    pictures = [path for path in written if path.suffix == ".png"]
    assert len(pictures) == 3
    assert all(path.read_bytes().startswith(b"\x89PNG") and "simulated-chip" in path.name for path in pictures)
    text = (tmp_path / "r.md").read_text()
    assert "**only:p** against **base**, profile stage2, on simulated chip: **better**" in text
    rows = [line for line in text.splitlines() if line.startswith("| 8192/1024")]
    assert len(rows) == 3 * 4 and all(line.count("|") == 8 for line in rows)


def test_an_unknown_experiment_names_those_there_are(samples: ModuleType, store_of: StoreOf) -> None:
    store = store_of(samples.experiment("x", "base", "only:p", 1.05, pairs=1))
    with pytest.raises(BadInput, match="no records of experiment y") as caught:
        build.gather(store, experiments=["y"])
    assert caught.value.remedy == "one of x"


def test_an_empty_store_makes_a_report_that_says_so(store_of: StoreOf, tmp_path: Path) -> None:
    build.write(build.gather(store_of([])), out=tmp_path / "r.html", png_folder=tmp_path, markdown_file=tmp_path / "r.md")
    assert "0 records, 0 passed" in (tmp_path / "r.html").read_text()


def test_pareto_by_hand() -> None:
    found = [(1.0, 10.0), (2.0, 9.0), (2.0, 8.0), (3.0, 9.5), (4.0, 1.0)]
    assert points.pareto(found, more_x=True) == [(1.0, 10.0), (3.0, 9.5), (4.0, 1.0)]
    assert points.pareto(found, more_x=False) == [(1.0, 10.0)]


def test_the_markdown_is_no_markup_of_its_data(samples: ModuleType, store_of: StoreOf, tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    data = build.gather(store_of(samples.experiment("<i>x</i>", "base", f"only:{nasty}", 1.05)))
    build.write(data, out=tmp_path / "r.html", markdown_file=tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert "&lt;script&gt;" in text and not re.search(r"<(script|img|i)\b", text)


ODD_PROBE = """
document.getElementById("more").click();
const cells = [...document.querySelectorAll("#records tbody tr")].map((row) => [...row.children].map((cell) => [cell.textContent, cell.children.length]));
const search = document.getElementById("search");
search.value = "<!-" + "-<scr" + "ipt>"; search.dispatchEvent(new Event("input"));
return { rows: cells.length, ids: cells.map((row) => row[0][0]), last: cells.map((row) => row.at(-1)[0]), inner: cells.flat().filter((cell) => cell[1]).length,
  hit: globalThis.hit ?? null, found: document.querySelectorAll("#records tbody tr").length, scripts: document.querySelectorAll("script").length };
"""


@pytest.mark.slow
def test_odd_fields_in_a_browser(samples: ModuleType, store_of: StoreOf, browse: Browse, tmp_path: Path) -> None:
    """What a record holds is text in every cell, and none of it runs."""
    nasty = ["<!--<script>", "</script><script>hit=1</script>", "<img src=x onerror=hit=2>", "]]>", "--><", "\x1b[2J\x07", "\u2028\u202e", "[red]x[/]", "%{x}", "javascript:hit=3",
             "\0a", "&lt;b&gt;", "{{7*7}}", "' onmouseover='hit=4", "x" * 3000]
    records = [samples.failed(number, text, profile=text, labels={"experiment": text, "arm": text}, project=text,
                              host=samples.HOST.model_copy(update={"name": text, "gpus": (text,)}), versions={text: text})
               for number, text in enumerate(nasty)]  # fmt: skip
    records += [samples.record(100 + number, profile=text if number < 2 else "stage2", trees=(samples.tree("base").model_copy(update={"variant": text}),))
                for number, text in enumerate(nasty)]  # fmt: skip
    build.write(build.gather(store_of(records)), out=tmp_path / "r.html")
    found, console = browse(tmp_path / "r.html", ODD_PROBE, 1280)
    assert console == [] and found["hit"] is None and found["inner"] == 0
    assert found["rows"] == len(records) and sorted(found["ids"]) == sorted(one.id for one in records)
    assert [text for text in found["last"] if text] == nasty
    assert found["found"] == 2 and found["scripts"] == 6

