"""A headless Chromium that is driven as a person at a keyboard drives one: real key events, over its debugging pipe."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "Space": ("Space", 32, " "), "/": ("Slash", 191, "/")}
SHIFT = 8

# What has the focus: what it is, whether it is in the window and whether its middle is covered, whether an outline is drawn.
FOCUSED = """(() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const at = e.getBoundingClientRect(), x = (Math.max(at.left, 0) + Math.min(at.right, innerWidth)) / 2,
    y = (Math.max(at.top, 0) + Math.min(at.bottom, innerHeight)) / 2, top = document.elementFromPoint(x, y), style = getComputedStyle(e);
  return { number: all().indexOf(e), tag: e.tagName.toLowerCase(), id: e.id, text: (e.textContent || e.placeholder || "").trim().slice(0, 40),
    seen: at.bottom > 0 && at.top < innerHeight && at.right > 0 && at.left < innerWidth && at.width > 0 && at.height > 0,
    covered: !(top && (e.contains(top) || top.contains(e))), outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
})()"""
# Everything that a keyboard must reach, in the page's order.
ALL = """window.all = () => [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")].filter((e) =>
  !e.disabled && !e.hidden && (e.checkVisibility ? e.checkVisibility() : true) && !(e.closest("details:not([open])") && e.tagName !== "SUMMARY"))"""


class Browser:
    """One page. Its messages go over two pipes, ended by a NUL, so that no port is opened and no library is needed."""

    def __init__(self, program: str, page: Path, profile: Path, width: int, height: int) -> None:
        out_read, self._write = os.pipe()
        self._read, in_write = os.pipe()
        script = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", str(out_read), str(in_write), program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
            pass_fds=(out_read, in_write), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
        os.close(out_read)
        os.close(in_write)
        self._buffer, self._sent, self._session = b"", 0, ""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.enable")
        self.call("Page.navigate", url=f"file://{page}")
        self.wait('document.readyState === "complete" && document.querySelector("#records tbody tr") !== null')
        self.js(ALL)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **({"sessionId": self._session} if self._session else {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                part = os.read(self._read, 1 << 20)
                assert part, f"the browser ended at {method}"
                self._buffer += part
            line, self._buffer = self._buffer.split(b"\0", 1)
            said = json.loads(line)
            if said.get("id") == self._sent:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        said = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait(self, condition: str) -> None:
        self.js(f"new Promise((done) => {{ const look = () => ({condition}) ? done(true) : setTimeout(look, 20); look(); }})")

    def press(self, key: str, *, shift: bool = False) -> None:
        """One key, down and up, and a frame for what it does."""
        code, number, text = KEYS[key]
        about = {"key": {"Space": " "}.get(key, key), "code": code, "windowsVirtualKeyCode": number, "modifiers": SHIFT if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def focused(self) -> dict[str, Any] | None:
        """What has the focus, None where it is the page."""
        found: dict[str, Any] | None = self.js(FOCUSED)
        return found

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for number in (self._read, self._write):
            with contextlib.suppress(OSError):
                os.close(number)


@contextlib.contextmanager
def browser(program: str, page: Path, profile: Path, width: int, height: int = 800) -> Iterator[Browser]:
    made = Browser(program, page, profile, width, height)
    try:
        yield made
    finally:
        made.close()
