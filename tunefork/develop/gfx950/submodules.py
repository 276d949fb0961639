"""``python -m tunefork.develop.gfx950.submodules UPSTREAM CHECKOUT``: bring an upstream's submodules into a checkout, as pinned."""

from __future__ import annotations

import sys
from pathlib import Path

from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.patchset.sources import pins, sources


def main(argv: list[str]) -> int:
    upstream, checkout = argv
    layout = Layout.here()
    try:
        for path in sources.submodules(pins.load(layout)[upstream], Path(checkout), print, layout=layout):
            print(f"{upstream}: {path} is there")
    except TuneforkError as error:
        print(error.told)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
