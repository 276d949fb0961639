"""The report without a mouse: real keys in a headless Chromium; every control is reached once, in order, and seen when it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loading import module

from tunefork.bench.records.store import Store
from tunefork.bench.report import build

keys = module("report_keys", Path(__file__).with_name("keys.py"))


@pytest.fixture(params=[1280, 400], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, chromium: str, thousand: Store, tmp_path: Path) -> Iterator[Any]:
    build.write(build.gather(thousand), out=tmp_path / "r.html")
    with keys.browser(chromium, tmp_path / "r.html", tmp_path / "profile", request.param) as opened:
        yield opened


def tabbed_to(page: Any, wanted: str, most: int = 60) -> dict[str, Any]:
    """Press Tab until something of that id or text has the focus."""
    for _ in range(most):
        page.press("Tab")
        found = page.focused()
        if found and wanted in (found["id"], found["text"]):
            return found
    raise AssertionError(f"no Tab comes to {wanted}")


@pytest.mark.slow
def test_a_walk_by_keys(page: Any) -> None:
    controls = page.js("all().length")
    assert controls > 30
    walk = []
    for _ in range(controls):
        page.press("Tab")
        walk.append(page.focused())
    assert [one and one["number"] for one in walk] == list(range(controls)), "each once, in the page's order"
    for one in walk:
        assert one["seen"] and not one["covered"] and one["outline"], one
    page.press("Tab")
    assert page.focused() is None, "nothing holds the keyboard: past the last control the page is left"
    assert [one["text"] for one in walk[:7]] == ["to the summary", "Effects", "Noise", "Scores", "Environment", "Records", "light / dark"]
    page.press("Tab", shift=True)
    assert page.focused()["number"] == controls - 1, "and entered again from its end"

    # The skip link and the sections.
    page.js("document.activeElement.blur(); scrollTo(0, 0)")
    page.js("document.querySelector('a.skip').focus()")
    page.press("Enter")
    assert page.js("document.activeElement.id") == "summary" and page.js("location.hash") == "#summary"
    page.press("Tab")
    assert page.focused()["text"] == "each load", "the header's links are skipped"

    # A fold, by Enter and by Space.
    assert not page.js("document.activeElement.parentElement.open")
    page.press("Enter")
    assert page.js("document.activeElement.parentElement.open")
    page.press("Space")
    assert not page.js("document.activeElement.parentElement.open")

    # The table: search by /, Escape, order, all of it.
    page.press("/")
    assert page.focused()["id"] == "search" and page.focused()["seen"]
    page.type("slow-router conc32")
    page.wait("document.querySelectorAll('#records tbody tr').length === 6")
    page.press("Escape")
    assert page.js("document.getElementById('search').value") == "" and page.js("document.querySelectorAll('#records tbody tr').length") == 200
    tabbed_to(page, "CONC")
    order = "document.activeElement.parentElement.getAttribute('aria-sort')"
    page.press("Enter")
    assert page.js(order) == "ascending"
    page.press("Enter")
    assert page.js(order) == "descending" and page.focused()["text"] == "CONC", "who sorts stays where he is"
    tabbed_to(page, "more")
    page.press("Enter")
    assert page.js("document.querySelectorAll('#records tbody tr').length") == 1000
    assert page.focused()["id"] == "region" and page.focused()["seen"], "the button is gone; its presser is not thrown out of the table"

    # The theme, with its button's own name.
    page.js("document.getElementById('theme').focus()")
    light = page.js("getComputedStyle(document.body).backgroundColor")
    page.press("Space")
    assert page.js("getComputedStyle(document.body).backgroundColor") != light and page.focused()["outline"]


@pytest.mark.slow
def test_no_date_is_broken_into_lines(page: Any) -> None:
    page.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    lines = page.js("[...document.querySelectorAll('main time')].map((one) => [one.textContent, one.getClientRects().length])")
    assert len(lines) > 6 and {count for _, count in lines} == {1}, lines
    elsewhere = page.js(r"""(() => { const found = [], walk = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
      for (let node; node = walk.nextNode();) for (const one of node.textContent.matchAll(/\d{4}-\d\d-\d\d/g)) {
        const range = document.createRange(); range.setStart(node, one.index); range.setEnd(node, one.index + 10);
        if (new Set([...range.getClientRects()].map((at) => at.top)).size > 1) found.push(node.textContent); }
      return found; })()""")
    assert elsewhere == []
