"""A page in Debian's Chromium, over its debugging pipe: no driver and no package is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any


def program() -> str | None:
    """Path of the browser; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A headless browser with one page; what its console says and what it asks the network for is kept."""

    def __init__(self, folder: Path, width: int = 1200, height: int = 900) -> None:
        path = program()
        assert path is not None
        (here, theirs), (replies, back) = os.pipe(), os.pipe()
        command = [
            path, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
            "--hide-scrollbars", f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        # the browser reads from descriptor 3 and writes to 4
        shell = ["bash", "-c", f'exec "$@" 3<&{here} 4>&{back}', "bash", *command]
        self._process = subprocess.Popen(
            shell, pass_fds=(here, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(here)
        os.close(back)
        self._write, self._read, self._left, self._number = theirs, replies, b"", 0
        self.console: list[str] = []
        self.requests: list[str] = []
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        text, _, self._left = self._left.partition(b"\0")
        event = json.loads(text)
        what, about = event.get("method"), event.get("params", {})
        if what == "Runtime.exceptionThrown":
            self.console.append(json.dumps(about["exceptionDetails"])[:500])
        elif what == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.console.append(json.dumps(about["args"])[:500])
        elif what == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.console.append(about["entry"]["text"])
        elif what == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"][:100])
        return dict(event)

    def open(self, path: Path, ready: str, seconds: float = 60.0) -> None:
        """Load a file and wait until an expression is true."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        give_up = time.monotonic() + seconds
        while not self.value(f"document.readyState === 'complete' && Boolean({ready})"):
            assert time.monotonic() < give_up, self.console
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event at a place of the window in CSS pixels."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def key(self, name: str) -> None:
        """A key, pressed and released."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": name} if kind == "keyDown" and len(name) == 1 else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, **text)

    def box(self, selector: str) -> dict[str, float]:
        """Where an element stands in the window, after it was scrolled into it."""
        return dict(
            self.value(
                f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center', "
                "behavior: 'instant'}); const r = e.getBoundingClientRect(); "
                "return {x: r.x, y: r.y, width: r.width, height: r.height}; })()"
            )
        )

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Size of the window in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def dark(self, on: bool) -> None:
        """Whether the user prefers dark pages."""
        value = "dark" if on else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def screenshot(self, path: Path) -> None:
        """The window as a PNG."""
        import base64

        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)
