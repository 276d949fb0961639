#!/usr/bin/env bash
# One quilt series, applied by `quilt push -a` and by `dpkg-source -x` of a 3.0 (quilt) package.
#
# Guess, written down before (2026-11-30): both make the same tree of the same series, as dpkg-source's format is
#   named after quilt; a context diff (`diff -c`), which patch reads, is taken by both.
# Versions: quilt 0.66, patch 2.7.6, dpkg-dev 1.21.22 (Debian 12). Needs these; nothing is installed.
#
# Behaviour: of a patch that empties a file (no date, no /dev/null) quilt keeps an empty file and dpkg-source none: it
#   runs patch with -E. A context diff quilt takes, and dpkg-source refuses; exit codes are 0 but for that.
#
# Seen, 2026-11-30:
#   size of the file by quilt and by dpkg-source: emptied: 0 gone; context diff: 5 refused; plain change: 5 5
set -euo pipefail
for tool in quilt patch dpkg-source; do command -v $tool > /dev/null || { echo "NOT TRIED: $tool is not installed"; exit 2; }; done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export QUILTRC=- LC_ALL=C
by_both() { # a patch's text on stdin -> "<quilt: size of g, gone or refused> <dpkg-source: the same>"
    local place="$folder/$1"
    mkdir -p "$place/p-1" "$place/made/debian/patches" "$place/made/debian/source"
    echo only > "$place/p-1/g"
    cat > "$place/made/debian/patches/x.diff"
    echo x.diff > "$place/made/debian/patches/series"
    echo '3.0 (quilt)' > "$place/made/debian/source/format"
    tar -C "$place" -czf "$place/p_1.orig.tar.gz" p-1
    tar -C "$place/made" -czf "$place/p_1-1.debian.tar.gz" debian
    (cd "$place" && {
        printf 'Format: 3.0 (quilt)\nSource: p\nBinary: p\nArchitecture: all\nVersion: 1-1\nMaintainer: A <a@b>\nChecksums-Sha256:\n'
        for file in p_1.orig.tar.gz p_1-1.debian.tar.gz; do echo " $(sha256sum $file | cut -d' ' -f1) $(stat -c %s $file) $file"; done
        echo Files:
        for file in p_1.orig.tar.gz p_1-1.debian.tar.gz; do echo " $(md5sum $file | cut -d' ' -f1) $(stat -c %s $file) $file"; done
    } > p.dsc)
    local quilt=refused dpkg=refused
    if (cd "$place/p-1" && QUILT_PATCHES="$place/made/debian/patches" QUILT_PC="$place/pc" QUILT_PATCH_OPTS=-F0 quilt push -a) > "$place/log" 2>&1; then
        quilt=$([ -e "$place/p-1/g" ] && stat -c %s "$place/p-1/g" || echo gone)
    fi
    if (cd "$place" && dpkg-source --no-check -x p.dsc out) > "$place/log" 2>&1; then dpkg=$([ -e "$place/out/g" ] && stat -c %s "$place/out/g" || echo gone); fi
    echo "$quilt $dpkg"
}
emptied=$(printf -- '--- a/g\n+++ b/g\n@@ -1 +0,0 @@\n-only\n' | by_both emptied)
context=$(printf -- '*** a/g\n--- b/g\n***************\n*** 1 ****\n! only\n--- 1 ----\n! more\n' | by_both context)
changed=$(printf -- '--- a/g\n+++ b/g\n@@ -1 +1 @@\n-only\n+more\n' | by_both changed)
echo "size of the file by quilt and by dpkg-source: emptied: $emptied; context diff: $context; plain change: $changed"
if [ "$emptied; $context; $changed" = "0 gone; 5 refused; 5 5" ]; then
    exit 0
fi
echo "changed: $(quilt --version), $(dpkg-source --version | head -1)"
exit 1
