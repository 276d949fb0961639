"""Tune many problems: one journal each, spread over this machine's GPUs or cores or over a Ray cluster, and the table that comes of them.

Started again with the same folder it goes on; a finished problem is not touched.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.files import write_atomically
from tunefork.base.process import Say
from tunefork.bench.kernels.journal import HEADER, read
from tunefork.bench.kernels.tune_problem import chosen_row
from tunefork.bench.machine.spread import Local, Ray, Task, spread
from tunefork.kernels.moe_a16w4.config import TABLES, Row, table

BUCKETS = (2, 8, 16, 64, 256, 1024, 16384)
DEADLINE_S = 4 * 3600.0


@dataclass(frozen=True)
class Sweep:
    """What to tune. intermediates: I of one rank. tokens: upper ends of the buckets. out: folder of the journals. static: estimate, time nothing."""

    arch: str
    intermediates: tuple[int, ...]
    tokens: tuple[int, ...]
    out: Path
    static: bool

    def journals(self) -> dict[tuple[int, int], Path]:
        return {(size, count): self.out / f"{self.arch}-i{size}-m{count}.jsonl" for size in self.intermediates for count in self.tokens}

    @property
    def table(self) -> Path:
        """The output file: the chosen rows, as configs/<arch>.json has them."""
        return self.out / f"{self.arch}.json"


def finished(path: Path, intermediate: int, tokens: int, static: bool) -> Row | None:
    """The choice that a journal ends with. Errors: BadInput for a damaged journal, or one that estimated what is to be measured."""
    rows, _ = read(path)
    how, wanted = rows.get(HEADER, {}).get("how"), "modelled" if static else "measured"
    if HEADER in rows and how != wanted:
        raise BadInput(f"{path} holds {how} results, {wanted} ones are asked for", "give another --out, or remove the file to begin again")
    return chosen_row(rows, intermediate, tokens) if HEADER in rows else None


def run(sweep: Sweep, place: Local | Ray, say: Say) -> list[Row]:
    """Tune what has no choice yet and write the table. Errors: TuneforkError naming the problems that failed; what was done stays."""
    sweep.out.mkdir(parents=True, exist_ok=True)
    todo = [(problem, path) for problem, path in sweep.journals().items() if finished(path, *problem, sweep.static) is None]
    say(f"{len(sweep.journals()) - len(todo)} of {len(sweep.journals())} problems are done, {len(todo)} to tune into {sweep.out}")
    tasks = []
    for (intermediate, tokens), path in todo:
        words = [sys.executable, "-m", "tunefork.bench.kernels.tune_problem", sweep.arch, str(intermediate), str(tokens), str(path)]
        argv = tuple(words + ["--static"] * sweep.static)
        tasks.append(Task(path.stem, argv, 0 if sweep.static else 1, Path.cwd(), path.with_suffix(".log"), DEADLINE_S))
    failed = []
    for ended in spread(tasks, place, say):
        if ended.good:
            say(f"{ended.task.name}: tuned on {ended.host}")
        else:
            failed.append(ended.task.name)
            say(f"{ended.task.name}: failed ({ended.problem or f'exit code {ended.finished.exit_code}'}), see {ended.task.log}")
    rows = [row for problem, path in sweep.journals().items() if (row := finished(path, *problem, sweep.static))]
    if rows:
        write_table(sweep.arch, rows, sweep.table)
    if failed:
        raise TuneforkError(f"{len(failed)} of {len(sweep.journals())} problems have no choice: {', '.join(failed)}", "run the same command again: it goes on")
    return rows


def write_table(arch: str, rows: Sequence[Row], path: Path | None = None) -> None:
    """Write rows as configs/<arch>.json (or to `path`)."""
    data = {"arch": arch, "rows": [asdict(row) for row in sorted(rows, key=lambda row: (row.intermediate, row.tokens))]}
    write_atomically(path or TABLES / f"{arch}.json", (json.dumps(data, indent=1) + "\n").encode())


def take(arch: str, rows: Sequence[Row], path: Path | None = None) -> int:
    """Put rows into the shipped table in the place of those with the same size and bucket; returns how many changed."""
    kept = {(row.intermediate, row.tokens): row for row in table(arch)}
    changed = sum(kept.get((row.intermediate, row.tokens)) != row for row in rows)
    kept |= {(row.intermediate, row.tokens): row for row in rows}
    write_table(arch, list(kept.values()), path)
    table.cache_clear()
    return changed
