"""tunefork/patchset/inspect/graph.py and compare.py: needs that trial application finds, and what variants differ in."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from world import FILES, TRAILERS, World, applied

from tunefork.base.errors import BadInput
from tunefork.cli.main import main
from tunefork.patchset.checkout.export import export
from tunefork.patchset.inspect import compare, graph
from tunefork.patchset.inspect.graph import Need

LINES = FILES["a.py"]


def edited(**changed: str) -> bytes:
    data = LINES
    for key, text in changed.items():
        data = data.replace(f"line {key[1:]}\n".encode(), f"{text}\n".encode())
    return data


@pytest.fixture
def stacked(world: World) -> World:
    """under <- middle <- top on the same line; far in the same file, alone; other declares a need that it has not."""
    applied(world)
    world.commit({"a.py": edited(l5="under")}, "Under")
    world.commit({"a.py": edited(l5="under", l50="far")}, "Far")
    world.commit({"a.py": edited(l5="middle", l50="far")}, "Middle")
    world.commit({"a.py": edited(l5="top", l50="far")}, "Top")
    world.commit({"b.py": b"other\n"}, "Other", "Why.\n\nDepends-On: far\n" + TRAILERS)
    export(world.layout, "up")
    return world


def test_needs_are_the_least_that_apply(stacked: World) -> None:
    before = stacked.snapshot()
    found = {node.name: node.needs for node in graph.graph(stacked.layout, "up")}
    assert found == {"under": (), "far": (), "middle": (Need("under", True, False),), "top": (Need("middle", True, False),),
                     "other": (Need("far", False, True),)}  # fmt: skip
    assert stacked.snapshot() == before


def test_variants_differ_in_patches_and_files(stacked: World) -> None:
    before = stacked.snapshot()
    found = compare.variants(stacked.layout, "up", "upto:under", "upto:far")
    assert (found.only_left, found.only_right, found.files) == ((), ("far",), ("a.py",))
    assert "-line 50\n+far\n" in found.diff and "under" not in "".join(line for line in found.diff.splitlines() if line.startswith(("+", "-")))
    back = compare.variants(stacked.layout, "up", "all", "without:far")
    assert back.only_left == ("far", "other") and back.files == ("a.py", "b.py") and "-far\n+line 50\n" in back.diff
    assert compare.variants(stacked.layout, "up", "all", "all").diff == "" and stacked.snapshot() == before
    with pytest.raises(BadInput, match="no such variant"):
        compare.variants(stacked.layout, "up", "all", "most")


def test_the_commands(stacked: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(stacked.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(stacked.layout.cache))
    assert main(["patch", "graph"]) == 0
    out = capsys.readouterr().out
    assert "  top <- middle (not declared)\n" in out and "  other <- far (declared; applies without)\n" in out and "  far\n" in out
    assert main(["patch", "show", "middle.patch"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("up, patch 3 of 5: a.py\n") and out.endswith((stacked.series / "middle.patch").read_text())
    assert main(["patch", "show", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["depends_on"] == ["far"]
    assert main(["patch", "show", "nothing"]) == 2


def test_the_drawing_shows_every_need_by_its_kind(stacked: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(stacked.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(stacked.layout.cache))
    file = tmp_path / "graph.svg"
    assert main(["patch", "graph", "--svg", str(file)]) == 0
    root = ElementTree.parse(file).getroot()
    tag = "{http://www.w3.org/2000/svg}"
    arcs = [(path.get("class"), path.findtext(f"{tag}title")) for path in root.iter(f"{tag}path") if path.get("d", "").startswith("M") and path.find(f"{tag}title") is not None]
    assert arcs == [("undeclared", "needs under"), ("undeclared", "needs middle"), ("declared", "declares to need far")]
    assert {text.text for text in root.iter(f"{tag}text")} >= {"under", "far", "middle", "top", "other"}
