"""The accuracy gate: an lm_eval task against the server, judged from lm_eval's JSON file and never from its table.

A value that is missing, not a number, not positive where that is impossible, or of part of the task is a failure, not a zero.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.base.program import run_program
from tunefork.base.typed import typed
from tunefork.base.upstream_facts.vllm import CHAT_COMPLETIONS, COMPLETIONS
from tunefork.base.waiting import Waiting, counted
from tunefork.bench.errors import AccuracyUnknown
from tunefork.bench.profiles.rules import Bound, Gate
from tunefork.bench.records.schema import Accuracy, Limit
from tunefork.bench.server.logtail import last_lines
from tunefork.bench.server.target import Target

RESULTS = "lm_eval.json"
STORIES = """\
task: tiny_stories
dataset_path: json
dataset_kwargs:
  data_files:
    test: {texts}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
should_decontaminate: false
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
metadata:
  version: 1.0
"""


@dataclass(frozen=True)
class Evaluation:
    """A measured accuracy and lm_eval's whole answer."""

    accuracy: Accuracy
    raw: bytes


def arguments(target: Target, gate: Gate, folder: Path) -> list[str]:
    """lm_eval's command. model_args go as JSON, so that no path or name needs quoting."""
    chat = gate.api == "chat"
    model_args: dict[str, Any] = {
        "model": target.server.served_name,
        "base_url": f"{target.server.base_url}{CHAT_COMPLETIONS if chat else COMPLETIONS}",
        **({} if chat else {"tokenizer": target.server.model}),
        **gate.model_args,
    }
    words = [str(target.python), "-m", "lm_eval", "run", "--model", "local-chat-completions" if chat else "local-completions",
             "--model_args", json.dumps(model_args), "--tasks", gate.task, "--batch_size", "1",
             "--output_path", str(folder / RESULTS), "--log_samples"]
    if chat:
        words += ["--apply_chat_template"]
    if gate.fewshot is not None:
        words += ["--num_fewshot", str(gate.fewshot), *(["--fewshot_as_multiturn"] if chat and gate.fewshot else [])]
    if gate.gen_kwargs:
        words += ["--gen_kwargs", json.dumps(gate.gen_kwargs)]
    if gate.stories:
        words += ["--include_path", str(folder / "tasks")]
    return words


def evaluate(target: Target, gate: Gate, folder: Path) -> Evaluation:
    """Measure and judge; ``folder`` (new) keeps lm_eval's log, answer and samples. AccuracyUnknown where there is no valid answer."""
    folder.mkdir(parents=True)
    more = {}
    if gate.stories:
        (folder / "tasks").mkdir()
        texts = Path(target.server.model) / "eval" / "stories.jsonl"
        (folder / "tasks" / "tiny_stories.yaml").write_text(STORIES.format(texts=json.dumps(str(texts))))
        # Offline, and no cache of an earlier model's texts.
        more = {"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "datasets")}
    log = folder / "lm_eval.log"
    started = time.monotonic()
    with Waiting(f"accuracy, {gate.task}", far=lambda: counted("".join(last_lines(log, 1))), log=log) as waiting:
        done = run_program(arguments(target, gate, folder), env=target.environment(**more), cwd=folder / "cwd", log=log,
                           deadline_s=gate.timeout_s, watch=waiting.after(target.check))
    if done.exit_code != 0:
        last = "; ".join(last_lines(log, 3)) or "it said nothing"
        raise AccuracyUnknown(f"lm_eval ({gate.task}) {done.how}: {last}", f"read {log}")
    raw = answer(folder)
    judged = judge(raw, gate, manifest(gate, Path(target.server.model)), seconds=time.monotonic() - started, log=log)
    return Evaluation(judged, raw)


def answer(folder: Path) -> bytes:
    """The one results file; lm_eval adds the time to the name it is given."""
    stem, dot = RESULTS.removesuffix(".json"), ".json"
    found = sorted(path for path in folder.glob(f"{stem}_*{dot}") if path.is_file())
    if len(found) != 1:
        raise AccuracyUnknown(f"lm_eval left {len(found)} results files in {folder}, expected one", f"read {folder / 'lm_eval.log'}")
    return found[0].read_bytes()


def manifest(gate: Gate, model: Path) -> Mapping[str, Any]:
    """The manifest of a model made here, where a bound refers to it."""
    if all(bound.manifest is None for bound in gate.limits):
        return {}
    # The folder may be the user's own, of a --model: nothing of that is to be removed.
    ours = model.name.startswith("tiny-") and model.parent.name == "models"
    remedy = f"rm {typed(model / 'manifest.json')}; the next run makes the model again" if ours else \
        "this gate is for the model that Tunefork makes: leave --model out"  # fmt: skip
    try:
        data = jsons.loads((model / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise AccuracyUnknown(f"no readable {model / 'manifest.json'}: {type(error).__name__}", remedy) from None
    made = data if isinstance(data, dict) else {}
    for bound in gate.limits:
        if bound.manifest and (isinstance(made.get(bound.manifest), bool) or not isinstance(made.get(bound.manifest), int | float)):
            raise AccuracyUnknown(f"{model / 'manifest.json'} has no number {bound.manifest}", remedy)
    return made


def judge(raw: bytes, gate: Gate, made: Mapping[str, Any], seconds: float, log: Path = Path("lm_eval.log")) -> Accuracy:
    """Read lm_eval's JSON and hold it against the gate. made: what manifest() gave.  log: lm_eval's, to name."""
    try:
        data = jsons.loads(raw)
        results, counts = data["results"][gate.task], data["n-samples"][gate.task]
        effective, original = int(counts["effective"]), int(counts["original"])
        version = str(data.get("lm_eval_version", "unknown"))
    except (ValueError, KeyError, TypeError) as error:
        raise AccuracyUnknown(f"lm_eval's answer cannot be understood: {type(error).__name__}: {error}",
                              f"read {log}; `python3 build.py develop` installs the lm_eval that is understood, 0.4.13") from None
    if effective != original or effective < 1:
        raise AccuracyUnknown(f"lm_eval scored {effective} of {original} documents of {gate.task}", f"read {log}: it says what it left out and why")
    limits = tuple(limit(results, bound, gate.threshold_multiplier, made, log) for bound in gate.limits)
    return Accuracy(task=gate.task, status="passed" if all(one.passed for one in limits) else "missed",
                    metrics={one.name: one.value for one in limits}, limits=limits, samples=effective, seconds=seconds, lm_eval=version)


def limit(results: Mapping[str, Any], bound: Bound, multiplier: float, made: Mapping[str, Any], log: Path) -> Limit:
    """One metric against its bound."""
    remedy = f"read {log}; the server's log may say more"
    value = results.get(bound.metric)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AccuracyUnknown(f"lm_eval's {bound.metric} is {'missing' if bound.metric not in results else repr(value)}", remedy)
    if bound.at_least is not None:
        least = round(bound.at_least - bound.tolerance, 12)
        return Limit(name=bound.name, value=value, at_least=least, passed=value >= least)
    if value <= 0:
        raise AccuracyUnknown(f"lm_eval's {bound.metric} is {value}, which no model reaches", remedy)
    if bound.per_bytes is not None:
        if math.log(value) * bound.per_bytes > 700:
            raise AccuracyUnknown(f"lm_eval's {bound.metric} is {value:g}, beyond what {bound.name} can hold", remedy)
        value = float(value) ** bound.per_bytes
    reference = made[bound.manifest] if bound.manifest else bound.reference
    at_most = None if reference is None else float(reference) * multiplier
    return Limit(name=bound.name, value=value, at_most=at_most, passed=at_most is None or value <= at_most)
