#!/usr/bin/env bash
# import-linter: a folder without __init__.py is not looked into, and a contract that it breaks is "KEPT".
#
# Guess, written down before (2026-11-30): every module below the root package is read; Python imports such a folder like any other.
# Versions: import-linter 2.17 (grimp 3.20), CPython 3.11.7, Linux.
# Behaviour: app/low/bare/ has no __init__.py and imports app.high, which the layers forbid: kept, exit code 0, and the number of analysed
#   files alone says that one is missing. With an empty __init__.py the same import breaks the contract. Python runs both.
# Output seen (2026-11-30): "without __init__.py: layers KEPT, exit 0, python: 1", "with it: layers BROKEN, exit 1, python: 1"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check import-linter==2.17 grimp==3.20 2> pip.log || { cat pip.log; exit 2; } >&2

mkdir -p app/high app/low/bare
touch app/__init__.py app/low/__init__.py
echo 'X = 1' > app/high/__init__.py
echo 'from app.high import X' > app/low/bare/tool.py
cat > .importlinter <<'CONTRACT'
[importlinter]
root_package = app
[importlinter:contract:layers]
name = layers
type = layers
layers =
    app.high
    app.low
CONTRACT

said=""
check() {
    local code=0 line
    v/bin/lint-imports --no-cache > report || code=$?
    line="$(grep -oE '^layers (KEPT|BROKEN)' report), exit $code, python: $(v/bin/python -c 'from app.low.bare.tool import X; print(X)')"
    echo "$1: $line"
    said+="$line; "
}

check "without __init__.py"
touch app/low/bare/__init__.py
check "with it"
[ "$said" = "layers KEPT, exit 0, python: 1; layers BROKEN, exit 1, python: 1; " ] || { echo "changed: import-linter and folders without __init__.py"; exit 1; }
