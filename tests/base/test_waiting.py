"""What a person sees of a wait: a line on a terminal that says what, how far, how long still and which log; elsewhere nothing."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunefork.base.waiting import Waiting, counted, duration

SCRIPT = """
import time
from pathlib import Path
from tunefork.base import waiting
waiting.FIRST_S, waiting.EVERY_S = 0.2, 0.1
done = 0
with waiting.{kind}("CONC 64", far=lambda: (done, 640), now=lambda: "runs --api-key abcdefghij", log=Path("/x/client.log")) as line:
    for done in range(0, 640, 40):
        time.sleep(0.05)
        {look}
print("after")
"""


def on_a_terminal(script: str, **env: str) -> str:
    """What a terminal of 200 columns gets of a script's stderr."""
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", script], stderr=slave, stdout=slave, env={**os.environ, "COLUMNS": "200", "TERM": "xterm", **env}) as child:
        os.close(slave)
        said = b""
        try:
            while part := os.read(master, 4096):
                said += part
        except OSError:  # the other end is closed
            pass
        assert child.wait() == 0
    os.close(master)
    return said.decode()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "look"), [("Waiting", "line.look()"), ("ticking", "pass")])
def test_a_terminal_sees_one_line_that_changes(kind: str, look: str) -> None:
    said = on_a_terminal(SCRIPT.format(kind=kind, look=look), NO_COLOR="1")
    drawn = said.split("\r\x1b[K")[1:]
    wanted = r"  CONC 64, \d+ of 640, \d+ %, (about \d+ s left, )?\d+ s so far, runs --api-key <redacted>; log: /x/client.log"
    assert any(re.match(wanted, one) for one in drawn), drawn
    assert [one for one in drawn if one][-1].strip() == "after", "the line goes when the wait ends"
    assert "\x1b[3" not in said and said.count("\n") == 1, "no colour, no second line"


@pytest.mark.slow
def test_elsewhere_nothing_is_drawn() -> None:
    script = SCRIPT.format(kind="Waiting", look="line.look()")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout) == ("", "after\n")
    assert "\x1b" not in on_a_terminal(script, TERM="dumb")


def test_a_line_fits_and_says_no_time_before_anything_is_done() -> None:
    far = [None]
    one = Waiting("starting", far=lambda: far[0], now=lambda: "loading", log=Path("/a/very/long/path.log"))
    began = time.monotonic()
    assert one.line(began + 10, 200).startswith("  starting, 10 s so far, loading; log: ")
    far[0] = (10, 50)
    assert "10 of 50, 20 %, about 40 s left, 20 s so far" in one.line(began + 20, 200), "counted from when the first was to come, 10 s ago"
    assert len(one.line(began + 20, 30)) == 30


def test_what_programs_say_of_how_far_they_are() -> None:
    assert counted("[12/345] Building CXX object") == (12, 345)
    assert counted(" 12%|█▏        | 5/40 [00:01<00:05,  7.1it/s]") == (5, 40)
    assert counted("Requesting API: 100%|##| 128/128 [00:20<00:00]") == (128, 128)
    assert counted("see a/b/3/4 and 5/6") is None
    assert [duration(each) for each in (40.4, 700, 12600)] == ["40 s", "12 min", "3.5 h"]
