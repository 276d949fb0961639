"""Records of counts, one file per architecture and Triton version, and what one version does worse than the best that was seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.kernels.ratchet.counts import Counts, as_json, from_json

RECORDS = Path(__file__).parent / "records"
# A number is worse beyond `best * factor + spare`. The spare is what small kernels differ by between any two versions; measured on 3.6.0 against 3.7.1.
LIMITS = {"loads": (1.1, 2), "shared_loads": (1.25, 4), "shared_stores": (1.25, 4), "barriers": (1.25, 4), "shuffles": (1.25, 4),
          "conversions": (1.25, 2), "registers": (1.1, 8), "spills": (1.0, 0)}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """What one Triton made of every row. source: `source_hash` of the kernels that were compiled."""

    arch: str
    triton: str
    source: str
    rows: Mapping[str, Counts | str]


@dataclass(frozen=True)
class Damage:
    """A row whose ``number`` is ``now`` where ``best`` was seen with Triton ``of``."""

    label: str
    number: str
    best: int | str
    now: int | str
    of: str


def source_hash() -> str:
    """Of the modules that hold our Triton functions, without blank and comment lines; the same under every Python. The tables of configurations are not
    in it: rows are compared by label, and a new row has no record yet."""
    from tunefork import kernels

    root = Path(kernels.__file__).parent
    total = hashlib.sha256()
    for path in sorted([*(root / "moe_a16w4").glob("*.py"), *(root / "mxfp4").glob("*.py")]):
        if "jit" in (text := path.read_text()):
            lines = (line.rstrip() for line in text.splitlines())
            total.update("\n".join(line for line in lines if line and not line.lstrip().startswith("#")).encode())
    return total.hexdigest()[:16]


def path_of(arch: str, triton: str, folder: Path = RECORDS) -> Path:
    """Where a record lies."""
    return folder / f"{arch}-{triton}.json"


def write(record: Record, folder: Path = RECORDS) -> Path:
    """Write it whole; an earlier one of the same version is replaced."""
    rows = {label: as_json(found) for label, found in sorted(record.rows.items())}
    lines = ",\n".join(f"  {json.dumps(label)}: {json.dumps(row)}" for label, row in rows.items())
    head = json.dumps({"arch": record.arch, "triton": record.triton, "source": record.source})[:-1]
    path = path_of(record.arch, record.triton, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f'{head}, "rows": {{\n{lines}\n}}}}\n'.encode())
    return path


def read(path: Path) -> Record:
    """Errors: BadInput for a file that is no record."""
    try:
        held: dict[str, Any] = jsons.loads(path.read_bytes())
        return Record(held["arch"], held["triton"], held["source"], {label: from_json(row) for label, row in held["rows"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path} is no record of counts: {error}", "python3 build.py kernels ratchet --take") from error


def records(arch: str, folder: Path = RECORDS) -> list[Record]:
    """All of an architecture, oldest Triton first."""
    found = [read(path) for path in folder.glob(f"{arch}-*.json")]
    return sorted(found, key=lambda record: tuple(int(part) if part.isdigit() else -1 for part in record.triton.split(".")))


def damage(now: Record, others: Iterable[Record]) -> list[Damage]:
    """Where ``now`` is worse than the best of the others by more than LIMITS, in the order of rows; no code where another version had some comes first
    in its row. A row that no other record has is left out."""
    found = []
    for label, row in now.rows.items():
        seen = [(other.triton, before) for other in others if isinstance(before := other.rows.get(label), Counts)]
        if not seen:
            continue
        if isinstance(row, str):
            found.append(Damage(label, "code", "some", row, seen[-1][0]))
            continue
        if row.matrix < (best := max(seen, key=lambda one: one[1].matrix))[1].matrix:
            found.append(Damage(label, "matrix", best[1].matrix, row.matrix, best[0]))
        for number, (factor, spare) in LIMITS.items():
            of, least = min(((triton, before.numbers[number]) for triton, before in seen), key=lambda one: one[1])
            if (value := row.numbers[number]) > least * factor + spare:
                found.append(Damage(label, number, least, value, of))
    return found


def apart(now: Record, own: Record) -> list[Damage]:
    """Every number in which ``now`` differs from an earlier record of the same version, better or worse; rows that one of them lacks are left out."""
    found = []
    for label, row in now.rows.items():
        before = own.rows.get(label)
        if before is None or before == row:
            continue
        if isinstance(row, str) or isinstance(before, str):
            found.append(Damage(label, "code", before if isinstance(before, str) else "some", row if isinstance(row, str) else "some", own.triton))
            continue
        found += [Damage(label, name, before.numbers[name], value, own.triton) for name, value in row.numbers.items() if value != before.numbers[name]]
        if before.numbers == row.numbers:
            found.append(Damage(label, "widths of loads", str(before.loads), str(row.loads), own.triton))
    return found
