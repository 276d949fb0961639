"""From a record store to files: gather, then write HTML, and PNG and Markdown where asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.base.near import near, question
from tunefork.bench.ab import kept
from tunefork.bench.ab.accuracy import AccuracyDifference
from tunefork.bench.ab.experiment import FILE, read
from tunefork.bench.ab.kept import Asked
from tunefork.bench.ab.outcome import DECIDES, Outcome
from tunefork.bench.records import brief, index
from tunefork.bench.records.brief import Brief, of_experiments
from tunefork.bench.records.schema import utc_now
from tunefork.bench.records.store import Store
from tunefork.bench.report import charts, markdown, page, png
from tunefork.bench.report.points import Panel, panels


@dataclass(frozen=True)
class Data:
    """Everything that a report shows. damaged: what is wrong with records that cannot be read.

    accuracy: (experiment, comparison, B against A).
    """

    records: tuple[Brief, ...]
    damaged: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    panels: tuple[Panel, ...]
    accuracy: tuple[tuple[str, str, AccuracyDifference], ...]


def gather(store: Store, *, experiments: Sequence[str] = (), profile: str | None = None, plans: Path | None = None, fresh: bool = False) -> Data:
    """Look through the index beside the records; experiments are judged from it, too.

    experiments: only theirs, where given; BadInput for one that has none.  plans: the folder of experiments' plans, which say what decides in
    each.  fresh: read and check every record again, whatever the index says.
    """
    with contextlib.closing(index.database(store, samples=False, fresh=fresh)) as database:
        with kept.one_state(database):
            found = brief.read(database)
            damaged = [message for message, in database.execute("SELECT message FROM damaged ORDER BY record")]
            records = [one for one in found if profile in (None, one.profile) and (not experiments or one.experiment in experiments)]
            missing = [name for name in experiments if not any(one.experiment == name for one in records)]
            if missing:
                known = sorted({one.experiment for one in found if one.experiment})
                meant = question(near(missing[0], known))
                raise BadInput(f"no records of experiment {missing[0]}", f"{meant}one of {', '.join(known)}" if known else "bench ab makes experiments")
            asked = {name: planned(name, own, plans) for name, own in of_experiments(records).items()}
            looked = kept.read(database, asked)
        judged = kept.judged(database, asked, looked)
    return Data(tuple(records), tuple(damaged), tuple(judged), tuple(panels(records)), tuple(compared(records, plans)))


def planned(name: str, own: Sequence[Brief], plans: Path | None) -> Asked:
    """An experiment, by the metric and the threshold that it was planned with."""
    path, ids = plans / name / FILE if plans else None, tuple(one.id for one in own)
    if path and path.is_file():
        plan = read(path)
        return Asked(ids, plan.decides, plan.threshold)
    return Asked(ids)


def compared(records: Sequence[Brief], plans: Path | None) -> list[tuple[str, str, AccuracyDifference]]:
    """The accuracy of every experiment that asked for it."""
    names = dict.fromkeys(one.experiment for one in records if one.experiment is not None)
    known = [(name, plans / name) for name in names if plans and (plans / name / FILE).is_file()]
    if not known:
        return []
    from tunefork.bench.ab.answers import differences  # with all that asks a server

    return [(name, comparison, found) for name, where in known
            for comparison, found in differences(where, read(where / FILE).comparisons).items()]


def write(data: Data, *, out: Path, png_folder: Path | None = None, markdown_file: Path | None = None) -> list[Path]:
    """Write what was asked for; each file appears whole or not at all."""
    made = utc_now().strftime("%Y-%m-%d %H:%M UTC")
    written = [replace(out, page.page(data.records, data.damaged, data.outcomes, data.panels, data.accuracy, made))]
    if markdown_file:
        written.append(replace(markdown_file, table(data)))
    if png_folder:
        written += pictures(data, png_folder)
    return written


def table(data: Data) -> str:
    """The Markdown table."""
    return markdown.document(data.outcomes, data.records) + "\n"


def pictures(data: Data, folder: Path) -> list[Path]:
    """Every chart as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [png.scatter(panel, x, folder) for panel in data.panels for x in charts.AXES]
    for name in dict.fromkeys(one.experiment for one in data.outcomes):
        own = [one for one in data.outcomes if one.experiment == name]
        decides = next((scenario.decides for one in own for scenario in one.scenarios), DECIDES)
        on = ", ".join(sorted({each for one in own for each in one.chips}))
        path = png.forest(f"{name} on {on}", decides, own, folder)
        written += [path] if path else []
    return written


def replace(path: Path, text: str) -> Path:
    """Write a file in one step."""
    write_atomically(path, text.encode())
    return path
