"""A batch in words: the table, and what must be known to read it."""

from __future__ import annotations

from collections.abc import Sequence

from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.schema import Accuracy, Record
from tunefork.bench.run.batch import Batch, Entry

COLUMNS = ("ISL", "OSL", "CONC", "status", "tok/s/GPU", "E2E ms", "tok/s/user", "tput x", "E2E x", "intvty x", "why not")
RULE = "-" * 100


def cell(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def row(batch: Batch, entry: Entry, record: Record | None) -> tuple[str, ...]:
    """One CONC under COLUMNS."""
    score = record.score if record else None
    scores = (score.tput_per_gpu, score.median_e2el_ms, score.interactivity) if score else (None, None, None)
    ratios = (score.tput_ratio, score.e2e_ratio, score.interactivity_ratio) if score else (None, None, None)
    return (str(batch.state.isl), str(batch.state.osl), str(entry.conc), entry.status, *(cell(one) for one in scores),
            *(cell(one, 3) for one in ratios), entry.problem or "")


def grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns lined up with spaces."""
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    return ["  ".join(word.rjust(width) for word, width in zip(line[:-1], widths, strict=False)) + f"  {line[-1]}".rstrip()
            for line in rows]


def accuracy_lines(accuracy: Accuracy | None, rules: Rules) -> list[str]:
    """Each metric with its bound."""
    if accuracy is None:
        return [f"accuracy: not measured{'' if rules.accuracy else ' (the profile has no gate)'}"]
    lines = [f"accuracy: {accuracy.status.upper()} ({accuracy.task}, {accuracy.samples} documents, lm_eval {accuracy.lm_eval})"]
    for one in accuracy.limits:
        bound = f"<= {one.at_most:.4f}" if one.at_most is not None else f">= {one.at_least:.4f}" if one.at_least is not None else "no bound"
        lines.append(f"  {one.name:<20} {one.value:.4f}  ({bound}){'' if one.passed else '  MISSED'}")
    return lines


def seconds(record: Record | None) -> float:
    """How long a configuration took, its warm-ups included."""
    timing = record.timing if record else None
    return timing.before_s + timing.client_s + timing.after_s if timing else 0.0


def conc_line(entry: Entry, record: Record | None) -> str:
    """One CONC in the words of the harness' summary."""
    took = f" ({seconds(record):.0f}s)" if record else ""
    return f"CONC={entry.conc}: {'PASSED' if entry.status == 'passed' else 'FAILED'}{took}{'' if entry.status in ('passed', 'failed') else ', ' + entry.status}"


def summary(batch: Batch, rules: Rules, records: dict[int, Record], accuracy: Accuracy | None) -> str:
    """summary.txt."""
    state = batch.state
    entries = state.entries
    count = {status: sum(entry.status == status for entry in entries) for status in ("passed", "failed", "interrupted", "skipped")}
    any_record = next(iter(records.values()), None)
    lines = [*([f"begun {state.begun}"] if state.begun else []),
             f"profile {state.settings.profile}  ISL {state.isl}  OSL {state.osl}  mode {state.settings.mode}",
             f"vLLM {state.version or 'of a server that somebody else started'}"
             + (f"  variant {any_record.vllm.variant}" if any_record and any_record.vllm else "")
             + (f"  tree {state.tree[:12]}" if state.tree else "")]
    if any_record:
        lines.append(f"host {any_record.host.name}: {', '.join(any_record.host.gpus) or 'no GPU seen, ' + any_record.host.cpu}; "
                     f"GPUs used by the server: {any_record.server.gpus} (TP x PP x DP)")
    table = grid([COLUMNS, *(row(batch, entry, records.get(entry.conc)) for entry in entries)])
    lines += [*accuracy_lines(accuracy, rules), RULE, *(conc_line(entry, records.get(entry.conc)) for entry in entries), RULE, *table, RULE,
              ", ".join(f"{number} {status}" for status, number in count.items() if number) + f" of {len(entries)}",
              f"Total tests: {len(entries)}  Passed: {count['passed']}  Failed: {len(entries) - count['passed']}  "
              f"Seconds: {sum(map(seconds, records.values())):.0f}",
              *notes(batch, rules, records)]
    return "\n".join(lines) + "\n"


def notes(batch: Batch, rules: Rules, records: dict[int, Record]) -> list[str]:
    """What the numbers do not say by themselves."""
    found = []
    scored = [record.score for record in records.values() if record.score]
    if rules.baseline:
        found.append(f"x: ours / {rules.baseline.name}; throughput and interactivity: higher is better, E2E: lower is better")
        without = [entry.conc for entry in batch.state.entries if rules.baseline.at(batch.state.isl, batch.state.osl, entry.conc) is None]
        if without:
            found.append(f"no {rules.baseline.name} value was published for CONC {', '.join(map(str, without))}")
    else:
        found.append("the profile has no baseline, so there are no ratios")
    if any(score.divisor_kind == "seed" for score in scored):
        used = {record.server.gpus for record in records.values()}
        found.append(f"tok/s/GPU is divided by 8 as the seed's harness does (--seed-divisor); GPUs used: {', '.join(map(str, used))}")
    if any(record.server.target == "cpu" for record in records.values()):
        found.append("measured on a CPU: these are no GPU's numbers")
    if any(record.server.prefix_cache for record in records.values()):
        found.append("the server's prefix cache was on; the prompts of a load are its own, drawn from the seed in the record")
    if any(not record.server.own for record in records.values()):
        found.append("the server was not ours: its version, variant and host are not known; the host above is the client's")
    return [f"note: {line}" for line in (*found, *rules.notes)]
