"""Which parts of an interrupted batch may be believed: each claim is checked, and what does not hold is measured again."""

from __future__ import annotations

import json
from pathlib import Path

from tunefork.base import jsons, redact
from tunefork.base.errors import BadInput
from tunefork.bench.errors import RecordError
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store
from tunefork.bench.run.batch import Batch, Entry
from tunefork.bench.run.result import result
from tunefork.bench.run.session import Subject


def load_batches(folders: tuple[Path, ...]) -> list[Batch]:
    """The batches to go on with; they must be of one run, since one server serves them all."""
    batches = [Batch.load(folder) for folder in folders]
    for batch in batches:
        if any(redact.REDACTED in word for word in batch.state.settings.extra):
            raise BadInput(f"{batch.folder} was begun with a secret after `--`, which is not kept: {' '.join(batch.state.settings.extra)}",
                           "start a new batch, with the secret in the environment (VLLM_API_KEY for --api-key)")
    for batch in batches[1:]:
        if batch.state.settings != batches[0].state.settings:
            raise BadInput(f"{batch.folder} was run with other settings than {batches[0].folder}", "resume them one at a time")
    return batches


def require_same_subject(batches: list[Batch], subject: Subject) -> None:
    """Refuse to mix two trees in one batch."""
    for batch in batches:
        if batch.state.tree != subject.tree:
            then, now = batch.state.tree[:12] or "of another server", subject.tree[:12] or "of another server"
            raise BadInput(f"{batch.folder} measured the vLLM tree {then}; what would be measured now is the tree {now}",
                           "apply that variant again, or start a new batch")


def believe(batch: Batch, entry: Entry, rules: Rules, store: Store) -> Record | str:
    """The record of a CONC that passed, or why it is measured again."""
    if entry.status != "passed" or entry.record is None:
        return entry.problem or f"it was {entry.status}"
    try:
        record = store.verify(entry.record)
    except RecordError as error:
        return error.message
    one, state = record.scenario, batch.state
    if (one.isl, one.osl, one.conc) != (state.isl, state.osl, entry.conc) or record.status != "passed":
        return f"record {record.id} is of another configuration"
    if (record.vllm.tree if record.vllm else "") != state.tree:
        return f"record {record.id} is of another tree"
    path = batch.result_path(entry.conc)
    try:
        same = jsons.loads(path.read_bytes()) == json.loads(json.dumps(result(record, rules)))
    except (OSError, ValueError) as error:
        return f"{path.name}: {type(error).__name__}"
    return record if same else f"{path.name} does not say what record {record.id} says"
