"""What a failed run says to type, typed as it is printed, once what was broken is mended: the run comes to its end."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

TASKLESS = ('description = "d"\ntargets = ["cpu"]\nmodel = "tiny"\nserved_name = "gpt-oss-tiny"\nport = 8000\nready_timeout_s = 60\n'
            "[server]\n[environment]\n[[scenarios]]\nisl = 16\nosl = 8\nconc = [1]\n")
LOG = re.compile(r"read (\S+)")


def typed(world: Any, done: Any, **words: str) -> Any:
    """The command of the printed remedy, run as it stands but for a word in capitals that the user chooses."""
    said = done.err.partition("try: ")[2].splitlines()[0]
    found = re.search(r"python3 build\.py bench ([^`;]*)", said)
    assert found is not None, said
    kind, *rest = [words.get(word, word) for word in shlex.split(found[1].replace("only:P", f"only:{words.get('P', 'P')}"))]
    assert kind == "run"
    return world.run(*rest, *(() if "--resume" in rest else ("--profile", "smoke")))


@pytest.mark.parametrize(("faults", "code"), [pytest.param({"1": "crashes", "4": "crashes"}, 13, marks=pytest.mark.slow), ({"4": "nan"}, 12)])
def test_failed_configurations_are_measured_by_resume(world: Any, faults: dict[str, str], code: int) -> None:
    world.fake = {"client": faults}
    done = world.run("--profile", "smoke")
    assert done.code == code
    world.fake = {}
    again = typed(world, done)
    assert again.code == 0, again.err
    assert again.statuses == {1: "passed", 4: "passed"} and len(world.batches) == 1


@pytest.mark.slow
def test_resume_takes_a_folder_with_a_blank(world: Any) -> None:
    world.fake = {"client": {"4": "crashes"}}
    done = world.run("--profile", "smoke", "--out", str(world.root / "my results"))
    assert done.code == 12
    world.fake = {}
    again = typed(world, done)
    assert again.code == 0, again.err


@pytest.mark.slow
def test_a_missed_gate_is_asked_of_one_patch(world: Any) -> None:
    world.fake = {"metrics": {"bits_per_byte,none": 1.0}}
    done = world.run("--profile", "smoke")
    assert done.code == 10
    world.fake = {}
    again = typed(world, done, P="one")
    assert again.code == 0 and again.json["accuracy"]["status"] == "passed", again.err


@pytest.mark.slow
@pytest.mark.parametrize(("fake", "code", "holds"), [({"lm_eval": "crashes"}, 11, "ConnectionError"), ({"server": "dies"}, 9, "no such device")])
def test_the_log_to_read_says_why(world: Any, fake: dict[str, str], code: int, holds: str) -> None:
    """AccuracyUnknown and ServeError: what to read is there and has the words."""
    world.fake = fake
    done = world.run("--profile", "smoke")
    found = LOG.search(done.err.partition("try: ")[2])
    assert done.code == code and found is not None, done.err
    assert holds in Path(found[1]).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["nan", "missing", "zero", "partial", "table", "no-file"])
def test_whatever_is_wrong_with_the_accuracy_the_log_is_there(world: Any, fault: str) -> None:
    world.fake = {"lm_eval": fault}
    done = world.run("--profile", "smoke")
    found = LOG.search(done.err.partition("try: ")[2])
    assert done.code == 11 and found is not None, done.err
    assert Path(found[1].rstrip(";:,")).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{}", "no JSON"])
def test_a_model_without_its_number_is_made_again(world: Any, text: str) -> None:
    assert world.run("--profile", "smoke").code == 0
    (path,) = (world.root / "cache" / "models").rglob("manifest.json")
    path.write_text(text)
    done = world.run("--profile", "smoke")
    printed = re.search(r"try: (rm \S+);", done.err)
    assert done.code == 11 and printed is not None and shlex.split(printed[1]) == ["rm", str(path)], done.err
    subprocess.run(shlex.split(printed[1]), check=True)
    assert world.run("--profile", "smoke").code == 0


@pytest.mark.slow
def test_a_model_of_the_users_is_not_to_be_removed(world: Any) -> None:
    """What was printed for it was `rm -r` of the weights' folder."""
    own = world.root / "models" / "weights"
    own.mkdir(parents=True)
    (own / "manifest.json").write_text("{}")
    done = world.run("--profile", "smoke", "--model", str(own))
    assert done.code == 11 and "try: this gate is for the model that Tunefork makes: leave --model out" in done.err and "rm " not in done.err, done.err
    assert world.run("--profile", "smoke").code == 0


@pytest.mark.slow
def test_a_value_beyond_all_numbers_is_in_the_log_that_is_named(world: Any) -> None:
    world.fake = {"metrics": {"byte_perplexity,none": 1e200}}
    done = world.seed("--profile", "seed", "--mode", "acc")
    found = LOG.search(done.err.partition("try: ")[2])
    assert done.code == 11 and "beyond what" in done.err and found is not None and Path(found[1].rstrip(";")).is_file(), done.err
    world.fake = {}
    assert world.seed("--profile", "seed", "--mode", "acc").code in (0, 10)


def sample(number: int, **more: Any) -> str:
    return json.dumps({"doc_id": number, "doc_hash": f"h{number}", "filter": "none", "bits_per_byte": [-60.0, 100], **more}) + "\n"


GOOD = {"only-A": sample(0) + sample(1), "only-B": sample(0) + sample(1)}


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "says"), [
    ({**GOOD, "only-B": sample(0) + sample(2)}, "the arms answered other questions"),
    ({**GOOD, "only-B": sample(0) + sample(1)[:20]}, "holds a line that is no sample"),
])
def test_answers_that_cannot_be_compared_are_had_by_another_name(world: Any, samples: dict[str, str], says: str) -> None:
    """What was measured is shown all the same; the same name again does not ask again, another one does."""
    words = ("ab", "--a", "base", "--b", "all", "--profile", "smoke", "--accuracy", "--pairs", "1", "--port", str(world.port))
    world.fake = {"samples": samples}
    done = world.bench(*words, "--name", "first")
    assert done.code == 11 and says in done.err and "B = all against A = base" in done.out, done.err + done.out
    assert "try: the same command with another --name" in done.err
    world.fake = {"samples": GOOD}
    again = world.bench(*words, "--name", "another")
    assert again.code == 0 and "bits per byte: A 0.8656, B 0.8656" in again.out + again.err, again.err + again.out


@pytest.mark.slow
def test_samples_of_another_kind_want_another_task(world: Any) -> None:
    other = sample(0, bits_per_byte=None).replace("bits_per_byte", "f1")
    world.fake = {"samples": {"only-A": other, "only-B": other}}
    done = world.bench("ab", "--a", "base", "--b", "all", "--profile", "smoke", "--accuracy", "--pairs", "1", "--port", str(world.port))
    assert done.code == 11 and "neither exact_match nor bits_per_byte" in done.err
    assert [name for name in ("seed", "smoke") if f'"{name}"' in done.err.partition("try: ")[2]] == ["seed", "smoke"]
    world.fake = {"samples": GOOD}
    again = world.bench("ab", "--a", "base", "--b", "all", "--profile", "smoke", "--accuracy", "--pairs", "1", "--port", str(world.port), "--name", "another")
    assert again.code == 0 and "bits per byte" in again.out + again.err, again.err


@pytest.mark.slow
def test_an_ab_without_a_task_starts_no_server(world: Any) -> None:
    profile = world.root / "mine.toml"
    profile.write_text(TASKLESS)
    words = ("ab", "--a", "base", "--b", "all", "--profile", str(profile), "--pairs", "1", "--port", str(world.port), "--name", "x")
    done = world.bench(*words, "--accuracy")
    assert done.code == 11 and "try: the same command without --accuracy; or gates = " in done.err and "starting vLLM" not in done.err, done.err
    assert world.bench(*words).code == 0


@pytest.mark.slow
def test_a_gate_is_had_by_the_line_that_is_printed(world: Any) -> None:
    profile = world.root / "mine.toml"
    profile.write_text(TASKLESS)
    words = ("--profile", str(profile), "--mode", "acc")
    done = world.run(*words)
    printed = re.search(r'try: (gates = "\w+") in the profile', done.err)
    assert done.code == 11 and printed is not None, done.err
    profile.write_text(f"{printed[1].replace('seed', 'smoke')}\n{profile.read_text()}")  # the tiny model's own; seed's texts are not here
    again = world.run(*words)
    assert again.code == 0, again.err


@pytest.mark.slow
def test_the_team_as_it_is_printed(world: Any) -> None:
    words = ("--profile", "seed", "--mode", "submit", "--yes")
    done = world.run(*words)
    option, variable = re.search(r"try: (--team NAME), or export (\w+=NAME)", done.err).groups()  # type: ignore[union-attr]
    assert done.code == 2 and "a team is needed" in done.err
    assert "a team is needed" not in world.run(*words, *option.split()).err
    name, _, value = variable.partition("=")
    world.env[name] = value
    assert "a team is needed" not in world.run(*words).err


@pytest.mark.slow
def test_another_port_is_free(world: Any) -> None:
    holder = world.serve()
    try:
        done = world.run("--profile", "smoke")
        found = re.search(r"try: (--port \d+)", done.err)
        assert done.code == 9 and found is not None, done.err
        again = world.run("--profile", "smoke", *shlex.split(found[1]))
        assert again.code == 0, again.err
    finally:
        holder.kill()
        holder.wait()
