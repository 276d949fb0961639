"""`apply UPSTREAM --pin NAME`: the series on an alternative pin; a pin that nobody here has; and that nothing moves."""

from __future__ import annotations

import json

import pytest
from test_rebase import everything, lines, series, upstream
from world import World, git

from tunefork.base.errors import BadInput, SourceError
from tunefork.base.layout import Layout
from tunefork.cli.main import main
from tunefork.patchset.rebase import alternative, rebase
from tunefork.patchset.sources import alternatives, pins

REAL = Layout.here()


def offer(world: World, tag: str, commit: str = "") -> None:
    """Write an alternative pin called "next"."""
    line = f'commit = "{commit}"\n' if commit else ""
    with world.layout.pins.open("a") as file:
        file.write(f'\n[upstreams.up.alternatives.next]\ntag = "{tag}"\n{line}state = "not verified here"\nwhy = "a test"\n')


@pytest.fixture
def two_patches(world: World) -> World:
    """One patch that fits the upstream's v2 and one that does not."""
    series(world, ("[Up] Fifth", {"a.py": lines(l5="five")}), ("[Up] Fortieth", {"a.py": lines(l5="five", l40="forty")}))
    upstream(world, {"a.py": lines(l40="upstream's forty")})
    return world


def test_it_says_of_each_patch_what_became_of_it_and_moves_nothing(two_patches: World) -> None:
    offer(two_patches, "v2")
    before = everything(two_patches)
    found, done = alternative.tried(two_patches.layout, "up", "next")
    assert (found.state, found.commit) == ("not verified here", "")
    assert {patch.name: patch.outcome for patch in done.patches} == {"fifth": "clean", "fortieth": "conflict"}
    assert everything(two_patches) == before


def test_the_command_prints_both_and_ends_with_1(two_patches: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    offer(two_patches, "v2", git(two_patches.upstream, "rev-parse", "v2"))
    monkeypatch.setenv("TUNEFORK_ROOT", str(two_patches.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(two_patches.layout.cache))
    assert main(["apply", "up", "--pin", "next"]) == 1
    said = capsys.readouterr().out
    assert "fifth" in said and "fortieth" in said and "next: not verified here; a test" in said
    assert main(["apply", "up", "--pin", "next", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["pin"]["state"] == "not verified here"
    assert [patch["outcome"] for patch in told["tried"]["patches"]] == ["clean", "conflict"]


def test_a_pin_that_no_source_has_is_one_line(two_patches: World) -> None:
    offer(two_patches, "v9")
    with pytest.raises(SourceError, match="up next cannot be reached from here, so nothing was tried") as caught:
        alternative.tried(two_patches.layout, "up", "next")
    assert "\n" not in caught.value.message and not caught.value.remedy


def test_a_host_that_does_not_answer_is_one_line(two_patches: World) -> None:
    offer(two_patches, "v9")
    pinned = two_patches.layout.pins.read_text()
    two_patches.layout.pins.write_text(pinned.replace(f"file://{two_patches.upstream}", "file:///nowhere/up.git"))
    with pytest.raises(SourceError, match="cannot be reached from here") as caught:
        alternative.tried(two_patches.layout, "up", "next")
    assert "\n" not in caught.value.message


def test_a_moved_tag_is_told(two_patches: World) -> None:
    offer(two_patches, "v2", "1" * 40)
    with pytest.raises(SourceError, match=f"pins.toml says {'1' * 40}"):
        alternative.tried(two_patches.layout, "up", "next")


@pytest.mark.parametrize(("arguments", "message"), [
    (["apply", "up", "--pin", "latest"], "pins.toml has no alternative pin 'latest' of up; known: next"),
    (["apply", "--pin", "next"], "--pin goes with one upstream"),
    (["apply", "up", "--pin", "next", "--beside"], "takes no other option than --json"),
    (["apply", "down", "--pin", "next"], "no upstream 'down' in pins.toml"),
])  # fmt: skip
def test_what_cannot_be_meant(two_patches: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                              arguments: list[str], message: str) -> None:
    offer(two_patches, "v2")
    monkeypatch.setenv("TUNEFORK_ROOT", str(two_patches.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(two_patches.layout.cache))
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("table", "message"), [
    ('tag = "v2"\nstate = "?"', "alternatives.next.why: expected a text"),
    ('tag = "-v2"\nstate = "?"\nwhy = "?"', "alternatives.next.tag: expected a tag"),
    ('tag = "v2"\nstate = "?"\nwhy = "?"\ncommit = "abc"', "alternatives.next.commit: expected 40"),
])  # fmt: skip
def test_a_wrong_table_is_told_by_every_command(world: World, table: str, message: str) -> None:
    with world.layout.pins.open("a") as file:
        file.write(f"\n[upstreams.up.alternatives.next]\n{table}\n")
    with pytest.raises(BadInput, match=message):
        pins.load(world.layout)


def test_moving_the_pin_keeps_the_alternatives(two_patches: World) -> None:
    offer(two_patches, "v2")
    upstream(two_patches, {"a.py": lines(l60="sixty")}, tag="v3")
    git(two_patches.upstream, "tag", "--force", "v3", "v1")
    rebase.start(two_patches.layout, "up", "v3")
    assert alternatives.named(two_patches.layout, "up", "next").tag == "v2"


def test_the_project_names_the_aiter_that_upstream_pairs_with_this_vllm() -> None:
    paired = alternatives.named(REAL, "aiter", "v0.1.26")
    assert (paired.tag, paired.commit, paired.state) == ("v0.1.26", "", "not verified here")
    checkout = REAL.checkout("vllm") / "docker" / "Dockerfile.rocm_base"
    if not checkout.is_file():
        pytest.skip("NOT TESTED: no source of vllm is applied here, so its Dockerfile cannot be read")
    assert 'ARG AITER_BRANCH="v0.1.26"' in checkout.read_text()


@pytest.mark.aiter
@pytest.mark.slow
def test_the_aiter_series_on_the_newest_commit_that_we_have_read() -> None:
    try:
        _, done = alternative.tried(REAL, "aiter", "main-2026-08-22")
    except SourceError as error:
        pytest.skip(f"AITER is out of reach: {error.message}")
    conflicts = {patch.name for patch in done.patches if patch.outcome == "conflict"}
    assert conflicts == {"a16w4-split-k-tail", "a16w4-waves", "a16w4-split-k", "a16w4-tiles"}
    assert not any(patch.outcome == "upstream" for patch in done.patches)
