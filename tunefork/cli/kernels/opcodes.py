"""`kernels opcodes`: every instruction that the executor knows, on the MI355X at hand and here, and whether both say the same.

    python3 build.py kernels opcodes                        all forms, into work/opcodes.jsonl
    python3 build.py kernels opcodes --only mfma            those whose line has the text
    python3 build.py kernels opcodes --list                 what would run; needs no GPU
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from tunefork.base.errors import BadInput, MissingTool, TuneforkError
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.extras import require_kernels
from tunefork.cli.output import echo, print_json, say
from tunefork.develop.machine import probe
from tunefork.develop.targets import GFX950

GROUPS = 4  # of 64 inputs


@click.command("opcodes")
@click.option("--only", metavar="TEXT", help="Forms whose line contains TEXT.")
@click.option("--inputs", type=click.IntRange(min=64), default=64 * GROUPS, show_default=True, help="Inputs of each form, whole waves of 64.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write (JSON lines).  [default: work/opcodes.jsonl]")
@click.option("--hip", metavar="LIBRARY", help="ROCm's libamdhip64.so, where it is not on the loader's path.")
@click.option("--device", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the GPU, as HIP counts.")
@click.option("--list", "listed", is_flag=True, help="Print the forms and run none.")
@options.as_json("Print the counts as JSON.")
def opcodes(only: str | None, inputs: int, out: Path | None, hip: str | None, device: int, listed: bool, as_json: bool) -> int:
    """Run single instructions on an MI355X and in the executor, and compare. Exit code 1 where one differs."""
    require_kernels()
    from tunefork.kernels.amdgcn.errors import Gfx950Error
    from tunefork.kernels.amdgcn.opcodes.form import forms

    chosen = [form for form in forms() if only is None or only in form.line]
    if not chosen:
        raise BadInput(f"no form's line contains {only!r}", "python3 build.py kernels opcodes --list")
    if listed:
        for form in chosen:
            echo(form.line)
        return 0
    layout = Layout.here()
    library = runtime(hip)
    from tunefork.kernels.amdgcn.opcodes import check, judge
    from tunefork.kernels.amdgcn.opcodes.hip import Hip, HipError

    target, counts, words = out or layout.work / "opcodes.jsonl", Counter[str](), Counter[str]()
    try:
        gpu = Hip(library, device)
        say(f"{len(chosen)} forms x {inputs // 64 * 64} inputs on {gpu.name}")
        for verdict in check.checked(chosen, gpu, inputs // 64, target):
            counts[verdict.verdict] += 1
            words[verdict.form.opcode] += verdict.verdict == judge.DIFFERENT
            if verdict.verdict in (judge.DIFFERENT, judge.REFUSED):
                first = verdict.cases[0] if verdict.cases else {}
                told = verdict.why or f"{verdict.different} words differ, first {first['place']}: executor {first['executor']}, device {first['device']}"
                say(f"{verdict.form.line}: {told}", f"{verdict.verdict}: ", fg="red")
    except HipError as error:
        done = f" after {counts.total()} forms, which are in {target}" if counts else ""
        raise MissingTool(f"{error.message}{done}", error.remedy or "rocminfo says whether this user may use the GPU") from error
    except Gfx950Error as error:
        raise MissingTool(error.message, error.remedy) from error
    except OSError as error:
        raise TuneforkError(f"{target} cannot be written: {error.strerror}", "name another file: --out FILE") from error
    if as_json:
        wrong = sorted(name for name in words if words[name])
        print_json({"device": gpu.name, "forms": counts.total(), "verdicts": dict(counts), "different": wrong, "file": str(target)})
    else:
        echo(f"{counts.total()} forms on {gpu.name}: " + ", ".join(f"{count} {name}" for name, count in counts.most_common()) + f"; {target}")
    return 0 if not counts[judge.DIFFERENT] and not counts[judge.REFUSED] else 1


def runtime(named: str | None) -> str:
    """The HIP runtime's library. Errors: MissingTool where this machine has no gfx950 and none is named."""
    if named is not None:
        return named
    from tunefork.kernels.amdgcn.opcodes.hip import LIBRARY

    machine = probe()
    if GFX950 not in machine.gpus:
        seen = ", ".join(sorted(set(machine.gpus))) or "no AMD GPU"
        raise MissingTool(f"opcodes are compared on a gfx950 (MI350X, MI355X); this machine has {seen}", "run it where `rocminfo` lists gfx950")
    home = machine.rocm_home
    return str(home / "lib" / LIBRARY) if home and (home / "lib" / LIBRARY).is_file() else LIBRARY
