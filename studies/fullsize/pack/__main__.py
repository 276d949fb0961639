"""Make the pack, or write its lock anew. See the package."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from studies.fullsize.pack import fatbin, tarball, wheels
from tunefork.base.errors import BuildError, TuneforkError
from tunefork.base.layout import Layout
from tunefork.patchset.sources.pins import pin_of

MIB = 1 << 20
LIMIT = 52 * MIB
SCRIPTS = ("setup.sh", "run.sh")

README = """# vLLM {vllm} for a machine with torch and no network

Made by `python3 -m studies.fullsize.pack`. For Python 3.12 on x86-64, torch 2.11, one H200 (sm_90: GPU code of other chips is zeroed).

| file | MiB | what |
|---|---|---|
{files}

From the root of Tunefork's checkout, this folder at PACK; rows and logs come to $OUT while it runs:
```
TUNEFORK_COMMIT=COMMIT bash PACK/run.sh T,F 0 480
TUNEFORK_COMMIT=COMMIT bash PACK/run.sh F,T,T,F,F,T,T,F 2 560 '4:40,16:48'     # same machine: caches and rows go on
```
ARMS START SECONDS [LOAD]: arms in the order of their starts, the first one's number, seconds after which nothing more begins
(15 s later what runs is stopped), loads as in `studies.fullsize.run`.

| library | containers of GPU code | with none left | kept, bytes | zeroed |
|---|---|---|---|---|
{cuts}

Packed: {packed}.
"""


def readme(vllm: str, out: Path, cuts: dict[str, fatbin.Cut]) -> str:
    """What the folder holds, in sizes, and what is to be typed."""
    what = {"vllm.txz": f"vLLM's wheel, without: {', '.join(f'`{one}`' for one in tarball.LEFT_OUT)}", "site.txz": "what it requires and the machine lacks",
            "setup.sh": "unpacks to /tmp and sets PYTHONPATH", "run.sh": "serves a sequence of arms"}  # fmt: skip
    files = "\n".join(f"| {name} | {(out / name).stat().st_size / MIB:.2f} | {said} |" for name, said in what.items())
    table = "\n".join(f"| {name} | {one.containers} | {one.without} | {one.kept} | {one.zeroed} |" for name, one in sorted(cuts.items()))
    packed = ", ".join(f"{name} {version}" for name, version in sorted(wheels.locked().items()))
    return README.format(vllm=vllm, files=files, cuts=table, packed=packed)


def make(out: Path, vllm: str) -> int:
    """Write the pack. Returns its bytes. Errors: SourceError from the downloads; BuildError, larger than it may be."""
    with tempfile.TemporaryDirectory(prefix="tunefork-pack-") as scratch:
        found = wheels.fetched(vllm, Path(scratch))
        cuts = tarball.write(out / "vllm.txz", [found.pop("vllm")])
        tarball.write(out / "site.txz", found.values())
    for name in SCRIPTS:
        shutil.copyfile(Path(__file__).with_name(name), out / name)
    (out / "README.md").write_text(readme(vllm, out, cuts))
    size = sum((out / name).stat().st_size for name in ("vllm.txz", "site.txz", *SCRIPTS, "README.md"))
    if size > LIMIT:
        raise BuildError(f"the pack has {size / MIB:.1f} MiB, expected at most {LIMIT // MIB}", "leave out more: left_out.txt, LEFT_OUT in tarball.py")
    return size


def main(words: Iterable[str] | None = None) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", help="a folder; its files of these names are replaced")
    parser.add_argument("--relock", action="store_true", help="write lock.txt from what pip finds now, and no pack")
    asked = parser.parse_args(words if words is None else list(words))
    if asked.relock == (asked.out is not None):
        parser.error("expected OUT or --relock")
    try:
        vllm = pin_of(Layout.here(), "vllm").version
        if asked.relock:
            with tempfile.TemporaryDirectory(prefix="tunefork-pack-") as scratch:
                print(wheels.relock(vllm, Path(scratch)), end="")
            return 0
        asked.out.mkdir(parents=True, exist_ok=True)
        size = make(asked.out, vllm)
    except TuneforkError as error:
        print(error.told, file=sys.stderr)
        return error.code
    print(f"{asked.out}: {size / MIB:.2f} MiB; README.md there says of what, and what to type")
    return 0


if __name__ == "__main__":
    sys.exit(main())
