"""Which of three is wrong about a kernel: Triton's interpreter, the executor of its gfx950 code, or the reference in torch?

    python -m tunefork.kernels.amdgcn.threeway FILE.py:NAME [--json]

NAME in FILE.py is a ``Case``, or a function that returns one. The kernel runs twice, in processes of their own, because TRITON_INTERPRET holds for a
whole process. Where two of the three agree and the third does not, it is named. Exit code 0: all agree; 1: one differs, or nobody agrees; 2: a side
did not run at all.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

import torch

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.process import ask
from tunefork.base.typed import typed

INTERPRETER, EXECUTOR, TORCH = SIDES = ("interpreter", "gfx950 executor", "torch")
MODULE = "tunefork.kernels.amdgcn.threeway"
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """kernel: allocates outputs on the CPU, launches, and returns them by name.  torch: the same values without the kernel.

    rtol, atol: of every output, both or neither; None: ``torch.testing.assert_close``'s, by dtype.
    program_filter: changes the gfx950 text before it is executed.
    """

    kernel: Callable[[], Tensors]
    torch: Callable[[], Tensors]
    rtol: float | None = None
    atol: float | None = None
    program_filter: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Answer:
    """differs: the side whose values the two others do not share; "" where all agree, and where no two do (then agree is empty).

    agree: the pairs that do, in words.  farthest: {output: {pair: greatest absolute difference}} of the pairs that do not.
    """

    differs: str
    agree: tuple[str, ...]
    farthest: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """One line."""
        if len(self.agree) == len(SIDES):
            return "all three agree"
        if self.differs:
            return f"{'' if self.differs == TORCH else 'the '}{self.differs} differs: {self.agree[0]} agree"
        return "no two of the three agree" if not self.agree else f"within the tolerance of one another: {'; '.join(self.agree)} only"


def judge(values: Mapping[str, Tensors], rtol: float | None = None, atol: float | None = None) -> Answer:
    """Compare the three sides' outputs. values: {side: {output: tensor}} of all three. Errors: BadInput where they have other outputs."""
    names = list(values[TORCH])
    for side in SIDES:
        if set(values[side]) != set(names):
            raise BadInput(f"the {side} has the outputs {', '.join(values[side])}, torch has {', '.join(names)}", "return the same names from both functions")
    apart: set[tuple[str, str]] = set()
    farthest: dict[str, dict[str, float]] = {}
    for name in names:
        for pair in combinations(SIDES, 2):
            first, second = (values[side][name] for side in pair)
            try:
                torch.testing.assert_close(first, second, rtol=rtol, atol=atol, equal_nan=True)
            except AssertionError:
                apart.add(pair)
                farthest.setdefault(name, {})[" and ".join(pair)] = distance(first, second)
    agree = [pair for pair in combinations(SIDES, 2) if pair not in apart]
    alone = [side for side in SIDES if len(agree) == 1 and side not in agree[0]]
    return Answer(alone[0] if alone else "", tuple(" and ".join(pair) for pair in agree), farthest)


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """The greatest absolute difference; infinite where shapes, dtypes or NaNs differ."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return float("inf")
    a, b = first.double(), second.double()
    if not torch.equal(a.isnan(), b.isnan()):
        return float("inf")
    return float((a - b).nan_to_num(0.0, float("inf"), float("-inf")).abs().max()) if a.numel() else 0.0


def compared(where: str) -> Answer:
    """The answer for FILE.py:NAME. Errors: TuneforkError where a side does not run, with its last words; BadInput where there is no case."""
    values: dict[str, Tensors] = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in reversed(SIDES):  # torch's first: it is the quickest to say that there is no case
            out = Path(folder, f"{side.split()[0]}.pt")
            environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
            done = ask([sys.executable, "-m", MODULE, where, "--side", side, "--out", out],
                       env={**environment, **({"TRITON_INTERPRET": "1"} if side == INTERPRETER else {})})
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
                last = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[-1])
                raise TuneforkError(f"{'' if side == TORCH else 'the '}{side} did not run {where}: {last}",
                                    f"{'TRITON_INTERPRET=1 ' if side == INTERPRETER else ''}{typed(sys.executable)} -m {MODULE} {typed(where)} "
                                    f"--side '{side}' --out out.pt")
            values[side] = torch.load(out, weights_only=True)
    rtol, atol = values[TORCH].pop("rtol"), values[TORCH].pop("atol")  # type: ignore[attr-defined]
    return judge(values, rtol, atol)


def case(where: str) -> Case:
    """The case that FILE.py:NAME names. Errors: BadInput."""
    file, _, name = where.rpartition(":")
    if not file or not Path(file).is_file():
        raise BadInput(f"{where} names no file: expected FILE.py:NAME", "python -m tunefork.kernels.amdgcn.threeway mine.py:case")
    sys.path.insert(0, str(Path(file).resolve().parent))
    found = runpy.run_path(file).get(name)
    if found is not None and not isinstance(found, Case) and callable(found):
        found = found()
    if not isinstance(found, Case):
        raise BadInput(f"{name} in {file} is {type(found).__name__}, expected a Case", "from tunefork.kernels.amdgcn.threeway import Case")
    return found


def run_side(one: Case, side: str) -> dict[str, object]:
    """This process's side of a case; torch's with the tolerances."""
    if side == TORCH:
        return {**one.torch(), "rtol": one.rtol, "atol": one.atol}
    if side == INTERPRETER:
        return dict(one.kernel())
    from tunefork.kernels.amdgcn.driver import on_gfx950

    with on_gfx950(program_filter=one.program_filter):
        return dict(one.kernel())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", metavar="FILE.py:NAME")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--side", choices=SIDES, help="run this side alone, and keep its values in --out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        if options.side:
            torch.save(run_side(case(options.where), options.side), options.out)
            return 0
        answer = compared(options.where)
    except TuneforkError as error:
        print(f"error: {error.message}\n  try: {error.remedy}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({**asdict(answer), "words": answer.words}, indent=2))
        return int(len(answer.agree) < len(SIDES))
    print(answer.words)
    for name, pairs in answer.farthest.items():
        for pair, far in pairs.items():
            print(f"  {name}: {pair} differ by up to {far:.3g}")
    return int(len(answer.agree) < len(SIDES))


if __name__ == "__main__":
    sys.exit(importlib.import_module(MODULE).main())  # a case's file imports Case from there, not from __main__
