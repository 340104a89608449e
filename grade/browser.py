"""A headless Chromium to look at pages with, driven by its DevTools protocol over a pair of pipes.

    with Browser() as b:
        b.open(Path("build/handouts/index.html"), dark=True)
        b.ask("document.title"); b.click("details summary"); b.wait_for("document.querySelector('details').open")
        b.requests; b.errors                # what the page fetched, and what it complained of
        Path("page.png").write_bytes(b.picture())

Waits end in BrowserError after host seconds, as everywhere in this package.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe")
SECONDS = 60 * float(os.environ.get("RAMPART_TIME_SCALE", "1"))
# Chromium reads commands from this descriptor and answers on the next one.
COMMANDS = 3
HIGH = 20


class BrowserError(RuntimeError):
    """The browser did not start, did not answer, or what was waited for did not come."""


def find() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one page."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        binary = find()
        if binary is None:
            raise BrowserError(f"no browser here (one of {', '.join(NAMES)})")
        self._profile = tempfile.TemporaryDirectory(prefix="rampart-browser-", ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Out of the way, and then, by a shell, where the browser wants them.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, HIGH) for end in (theirs_in, theirs_out)]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$0" "$@" {COMMANDS}<&{high[0]} {COMMANDS + 1}>&{high[1]}', binary, *FLAGS,
             f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=high)
        for end in (theirs_in, theirs_out, *high):
            os.close(end)
        self._buffer, self._last, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._loaded = False
        try:
            page = next(t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            self._session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser and forgets its profile."""
        self._process.kill()
        self._process.wait()
        for end in (self._in, self._out):
            os.close(end)
        self._profile.cleanup()

    def open(self, page: Path, dark: bool = False) -> None:
        """Loads a page from disk, all it asks for included."""
        self.requests, self.errors, self._loaded = [], [], False
        self._call("Emulation.setEmulatedMedia",
                   features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._call("Page.navigate", url=page.resolve().as_uri())
        end = time.monotonic() + SECONDS
        while not self._loaded:
            self._take(self._receive(end))

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise BrowserError(f"{expression}: {done['exceptionDetails']['exception'].get('description')}")
        return done["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """The expression's value, once it is true. The error shows what the page says by then."""
        end = time.monotonic() + SECONDS
        while not (value := self._ask_once(expression)):
            if time.monotonic() > end:
                raise BrowserError(f"{expression} is still {value} after {SECONDS:g} s; {self.errors}; the page:\n"
                                   + str(self.ask("document.body.innerText"))[:2000])
            time.sleep(0.02)
        return value

    def _ask_once(self, expression: str) -> Any:
        """As ask, but None where the page goes away meanwhile."""
        try:
            return self.ask(expression)
        except BrowserError as error:
            if not re.search("navigated|Cannot find context|context was destroyed", str(error)):
                raise
            return None

    def click(self, selector: str) -> None:
        """Clicks in the middle of the first element that the selector finds, as a mouse does."""
        where = self.ask(f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}});"
                         f" const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})"
                         f"(document.querySelector({json.dumps(selector)}))")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Types into whatever has the focus."""
        for char in text:
            self._call("Input.dispatchKeyEvent", type="keyDown", text=char, key=char)
            self._call("Input.dispatchKeyEvent", type="keyUp", key=char)

    def picture(self, selector: str = "") -> bytes:
        """What the window shows, or the first element that the selector finds, as PNG."""
        clip: dict[str, Any] = {}
        if selector:
            x, y, width, height = self.ask(f"(r => [r.x + scrollX, r.y + scrollY, r.width, r.height])"
                                           f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")
            clip = {"clip": {"x": x, "y": y, "width": width, "height": height, "scale": 1},
                    "captureBeyondViewport": True}
        return base64.b64decode(self._call("Page.captureScreenshot", **clip)["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        try:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise BrowserError("the browser is gone") from None
        end = time.monotonic() + SECONDS
        while True:
            got = self._receive(end)
            if got.get("id") != self._last:
                self._take(got)
            elif "error" in got:
                raise BrowserError(f"{method}: {got['error']['message']}")
            else:
                return dict(got["result"])

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BrowserError(f"no answer within {SECONDS:g} s")
            data = os.read(self._in, 1 << 16)
            if not data:
                raise BrowserError("the browser is gone")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def _take(self, event: dict[str, Any]) -> None:
        """Keeps what an event tells."""
        params = event.get("params", {})
        match event.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"].get("exception", {}).get("description")))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
