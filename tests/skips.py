"""The skip budget: why a test may skip, and how many tests do so for that reason where CI runs. CI gives `--skip-budget`, and a skip beyond it fails.

CI's machine: target cpu applied and developed, root, no GPU, AITER applied. The second number is for a machine that lacks something of that, where a
reason is allowed and its count is not pinned: None there means that CI never sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# reason (a regular expression that the whole reason matches) -> the most tests that skip for it in CI; 0: none may, elsewhere some do.
BUDGET: dict[str, int] = {
    r"no GPU here": 22,
    r"NOT TESTED: takes a minute; set TUNEFORK_LONG=1": 1,
    r"NOT TESTED: takes twelve minutes; set TUNEFORK_LONG=1": 1,
    r"NO BROWSER HERE: that the report works in one is not tested .*": 7,
    r"NO BROWSER HERE: that the live page works in one is not tested .*": 2,
    r"NOT TESTED: twelve minutes were too few on this busy machine: .*": 0,
    r"NO BROWSER HERE: nor node, .*": 1,
    r"(NOT TESTED: )?Ray is not installed .*": 5,
    r"NOT TESTED: no llvm-mca 22 or newer on PATH.*": 4,
    r"(NOT TESTED: )?modelled cycles left out: no llvm-mca .*": 2,
    r"NOT TESTED: no HIP compiler for gfx950: .*": 40,  # where pip's index has not the three wheels that it is made of
    r"NOT TESTED: no mount on PATH": 10,  # Debian has it in a package of its own
    r"(SKIPPED LOUDLY: cannot mount here|a small disk cannot be mounted here|a full disk cannot be made here|this machine does not let tests mount).*": 9,
    r"mounting a small tmpfs needs root": 0,
    r"NOT TESTED: another user needs root": 0,
    r"NOT TESTED: no chattr on PATH": 1,
    r"NOT TESTED: no C compiler on PATH, .*": 0,
    r"SKIPPED LOUDLY: no immutable files here .*": 1,
    r"(AITER is out of reach|NOT TESTED: .*aiter.*): .*": 3,
    r"NOT TESTED: needs (torch|triton|a triton with Gluon|.*vLLM's dependencies).*": 0,
    r"NOT TESTED: vLLM is not installed .*": 0,
    r"(NOT TESTED: )?vLLM is not applied in this checkout": 0,
    r"NOT TESTED: no vLLM source at .*": 0,
    r"NOT TESTED: the vLLM installed is .*": 0,
    r"NOT TESTED: .* holds no patched (vllm|aiter); .*": 46,  # AITER's, where none of its sources answers
    r"NOT TESTED: no source of .*": 26,  # AITER's, where none of its sources answers
    r"NOT TESTED: the variant in .* is without .*": 0,
    r"NOT TESTED: .*the end-to-end tests need target cpu.*": 0,
    r"NOT TESTED: pytest-(xdist|randomly) is not installed": 0,
    r"NOT TESTED: needs lm_eval .*": 0,
    r"torch or triton is not installed: .*": 0,
    r"NOT TESTED: no history of this project here .*": 0,
    r"quilt is not installed: .*": 5,
    r"dpkg-source is not installed: .*": 9,
    r"NOT TESTED: patch is not installed .*": 4,
    r"NOT TESTED: .* is needed, here is .*conformance.*": 200,
    r"needs AMD's pseudo-code: .*": 200,
    r"NOT TESTED: no triton, so our kernels have no names here": 0,
    r"NOT TESTED: needs packaging": 0,
    r"NOT TESTED: needs matplotlib .*": 0,
    r"huggingface_hub is not installed: .*": 0,
    r"outside the block this machine's GPU is active": 0,
    r"(peers may be present here|there is a GPU|this machine has a GPU)": 0,
}

# Reasons for which a whole module skips: counted in test functions, since their cases are as many as a table has rows, and tables grow.
BY_FUNCTION = {r"no GPU here"}


def reason_of(longrepr: object) -> str:
    """What a skipped report says, without pytest's word before it."""
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")


def beyond(skipped: Iterable[tuple[str, str]], *, counted: bool) -> list[str]:
    """What is wrong with the skips of a run, (node id, reason) each: a line for a reason that no row has, and where counted, for a row with more than its number."""
    found: dict[str, list[str]] = {}
    wrong = []
    for test, reason in skipped:
        row = next((row for row in BUDGET if re.fullmatch(row, reason, re.DOTALL)), None)
        if row is None:
            wrong.append(f"a reason that tests/skips.py does not have: {reason}")
        else:
            found.setdefault(row, []).append(test)
    if counted:
        for row, tests in found.items():
            what, count = ("skips", len(tests)) if row not in BY_FUNCTION else ("test functions skip", len({test.partition("[")[0] for test in tests}))
            if count > BUDGET[row]:
                wrong.append(f"{count} {what}, {BUDGET[row]} are allowed: {row}")
    return wrong
