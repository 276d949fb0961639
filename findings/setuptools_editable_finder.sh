#!/bin/bash
# setuptools: an editable install puts the sources' folder on sys.path for a src layout only, not for a flat one.
#
# Guess written down before: `pip install -e` of either layout puts the folder that holds the package on sys.path, so a
#   module that lies beside the package can be imported from anywhere.
# Versions: setuptools 80.9.0, CPython 3.11.7 and its pip, Linux.
# Behaviour: for src/ there is a .pth line with the folder. For a flat layout there is an import hook that knows the
#   listed packages alone. So `import beside` works from src/ and fails beside a flat package, unless the caller
#   adds the path (`python -m`, pytest's prepend import mode). Moving from src/ to flat breaks such imports.
# Output seen (2026-11-29): "src: import hook no, module beside the package yes", "flat: import hook yes, module ... no"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

report() {  # LAYOUT FOLDER-OF-THE-PACKAGE
    mkdir -p "$1/$2/inside"
    touch "$1/$2/inside/__init__.py" "$1/$2/beside.py"
    cat > "$1/pyproject.toml" <<TOML
[build-system]
requires = ["setuptools==80.9.0"]
build-backend = "setuptools.build_meta"
[project]
name = "inside"
version = "1"
[tool.setuptools.packages.find]
where = ["$2"]
include = ["inside*"]
TOML
    python3 -m venv "v$1"
    "v$1/bin/pip" install --quiet --editable "./$1" 2> pip.log || { cat pip.log; exit 2; } >&2
    cd /
    "$work/v$1/bin/python" -P - "$1" <<'PYTHON'
import importlib.util
import sys

import inside

assert inside.__path__
answer = {True: "yes", False: "no"}
hook = any("editable" in str(finder) for finder in sys.meta_path)
beside = importlib.util.find_spec("beside") is not None
print(f"{sys.argv[1]}: import hook {answer[hook]}, module beside the package {answer[beside]}")
PYTHON
    cd "$work"
}

seen="$(report src src); $(report flat .)"
echo "$seen"
as_written="src: import hook no, module beside the package yes; flat: import hook yes, module beside the package no"
[ "$seen" = "$as_written" ] ||
    { echo "changed: expected a path for the src layout and an import hook for the flat one" >&2; exit 1; }
