#!/usr/bin/env bash
# lm_eval: a kept request outlives an edit of its task and another few-shot seed, and a kept answer another model.
#
# Guess, written down before (2026-11-30): the key of --cache_requests takes in the task's text and the seed of the examples, that of
#   --use_cache the model.
# Versions: lm_eval 0.4.13, CPython 3.11.7, Linux. Two stand-in models, a local task of four questions; no network, no GPU.
# Behaviour: requests are kept under the task's name, its number of shots, ranks and tokenizer: after `doc_to_text` was changed, or with
#   another fewshot_random_seed, the old prompts go out. Answers are kept under the prompt and its
#   arguments: a second model (another class, another address) with the same file is never asked, and gets the first one's score.
# Output seen (2026-11-30): "prompt after the edit: 'Q: 2 = A:'; without the cache: 'Question 2 ='", "seeds 1234 and 7: the same examples",
#   "second model: asked 0 times, score 1.0; alone 0.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check lm_eval==0.4.13 2> pip.log || { cat pip.log; exit 2; } >&2

export HF_HOME="$work/hf" HF_HUB_OFFLINE=1 LM_HARNESS_CACHE_PATH="$work/requests"
mkdir tasks
v/bin/python -W ignore - 2> said.log <<'PYTHON' || { tail -n 3 said.log; exit 1; }
import json
import logging
import pathlib
import sys

import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

logging.disable(logging.WARNING)
pathlib.Path("data.json").write_text("".join(json.dumps({"q": str(n), "a": str(n)}) + "\n" for n in range(4)))
TASK = """
task: echo_numbers
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}, train: {data}}}}}
test_split: test
fewshot_split: train
output_type: generate_until
doc_to_text: "{text}"
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: ["\\n"]}}
metric_list: [{{metric: exact_match}}]
"""


class Model(LM):
    """Answers every question with its number, or wrongly."""

    def __init__(self, right):
        super().__init__()
        self.right, self.prompts = right, []

    def generate_until(self, requests, disable_tqdm=False):
        self.prompts += [request.args[0] for request in requests]
        return [str(request.doc["q"]) if self.right else "wrong" for request in requests]

    loglikelihood = loglikelihood_rolling = None


def run(model, text, shots=0, seed=1234, **kept):
    path = pathlib.Path("data.json").resolve()
    pathlib.Path("tasks/task.yaml").write_text(TASK.format(text=text, data=path))
    result = lm_eval.simple_evaluate(model=model, tasks=["echo_numbers"], task_manager=TaskManager(include_path="tasks", include_defaults=False),
                                     num_fewshot=shots, fewshot_random_seed=seed, bootstrap_iters=0, **kept)
    return result["results"]["echo_numbers"]["exact_match,none"], model.prompts


OLD, NEW = "Q: {{q}} = A:", "Question {{q}} ="
run(Model(True), OLD, cache_requests=True)
_, edited = run(Model(True), NEW, cache_requests=True)
_, plain = run(Model(True), NEW)
print(f"prompt after the edit: {edited[2]!r}; without the cache: {plain[2]!r}")

one, other = (run(Model(True), OLD, shots=2, seed=seed, cache_requests=True)[1] for seed in (1234, 7))
truly = run(Model(True), OLD, shots=2, seed=7)[1]
print("seeds 1234 and 7:", "the same examples" if one == other else "other examples", "" if truly != one else "(also without the cache)")

run(Model(True), OLD, use_cache="answers")
second = Model(False)
score, asked = run(second, OLD, use_cache="answers")
alone, _ = run(Model(False), OLD)
print(f"second model: asked {len(asked)} times, score {score}; alone {alone}")
if (edited[2], plain[2]) != ("Q: 2 = A:", "Question 2 =") or one != other or truly == one or (len(asked), score, alone) != (0, 1.0, 0.0):
    sys.exit("changed: what lm_eval keeps requests and answers under")
PYTHON
