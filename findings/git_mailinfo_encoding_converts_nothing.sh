#!/usr/bin/env bash
# git mailinfo --encoding=UTF-8 of a mail that declares ISO-8859-1.
#
# Guess, written down before (2026-11-30): --encoding=UTF-8 re-encodes the message to UTF-8, as the manual says of it
#   ("similar to -u, but uses the charset given here"); it gives the bytes that -u gives.
# Versions: git 2.39.5 (Debian). Needs git only; nothing is installed.
#
# Behaviour: with --encoding, whatever its value, the message is not re-encoded at all, as with -n, and the exit code
#   is 0; without an option, and with -u, it is UTF-8. A charset that nobody knows is refused there, and taken here.
#
# Seen, 2026-11-30:
#   no option: 62c3a4720a; -u: 62c3a4720a; -n: 62e4720a; --encoding=UTF-8: 62e4720a; unknown charset: -u 1, --encoding=UTF-8 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
cd "$folder"
mail() { printf 'From: A <a@b>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: x\nContent-Type: text/plain; charset=%s\n\nb\344r\n---\n' "$1"; }
bytes() { mail iso-8859-1 | git mailinfo "$@" message patch > headers && od -An -tx1 message | tr -d ' \n'; }
code() { mail x-unknown | git mailinfo "$1" message patch > headers 2> /dev/null && echo 0 || echo 1; }
bare=$(mail iso-8859-1 | git mailinfo message patch > headers && od -An -tx1 message | tr -d ' \n')
said="no option: $bare; -u: $(bytes -u); -n: $(bytes -n); --encoding=UTF-8: $(bytes --encoding=UTF-8)"
said="$said; unknown charset: -u $(code -u), --encoding=UTF-8 $(code --encoding=UTF-8)"
echo "$said"
if [ "$said" = "no option: 62c3a4720a; -u: 62c3a4720a; -n: 62e4720a; --encoding=UTF-8: 62e4720a; unknown charset: -u 1, --encoding=UTF-8 0" ]; then
    exit 0
fi
echo "changed: $(git --version) re-encodes otherwise"
exit 1
