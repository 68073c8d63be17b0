"""A headless Chromium, spoken to over a pipe in the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/, `--remote-debugging-pipe`: each message is
JSON and ends with a zero byte, on file descriptors 3 (to the browser) and 4 (from it).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MOVE = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]


class Page:
    """The browser's one page. `errors` collects what the console and the loader complain of."""

    def __init__(self, to: BinaryIO, back: BinaryIO) -> None:
        self.to, self.back = to, back
        self.number, self.session = 0, ""
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result. Raises RuntimeError if the browser refuses."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while (answer := self.receive()).get("id") != self.number:
            self.note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def receive(self) -> dict[str, Any]:
        """The browser's next message."""
        data = bytearray()
        while (byte := self.back.read(1)) not in (b"\0", b""):
            data += byte
        if not data:
            raise RuntimeError("the browser has gone")
        return dict(json.loads(data))

    def note(self, event: dict[str, Any]) -> None:
        """Keep complaints, and every request that would leave the machine."""
        kind, params = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(str(params["args"]))
        elif kind == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(str(params["entry"]["text"]))
        elif kind == "Network.requestWillBeSent":
            url = str(params["request"]["url"])
            if url.startswith("http"):
                self.errors.append(f"request to {url}")

    def look(self, url: str, width: int, scheme: str, ready: str = "drawn") -> None:
        """Open a page at a width and in a colour scheme, until the promise `ready` is kept."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=url)
        while (event := self.receive()).get("method") != "Page.loadEventFired":
            self.note(event)
        self.evaluate(ready)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, a promise awaited."""
        options = {"awaitPromise": True, "returnByValue": True}
        done = self.call("Runtime.evaluate", expression=expression, **options)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[Page]:
    """A running browser with an empty profile."""
    (ours, theirs), (back, out) = os.pipe(), os.pipe()
    command = [program, *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        [sys.executable, "-c", MOVE, str(ours), str(out), *command],
        pass_fds=(ours, out),
        stderr=subprocess.DEVNULL,
    )
    os.close(ours)
    os.close(out)
    with process, os.fdopen(theirs, "wb") as to, os.fdopen(back, "rb") as answers:
        page = Page(to, answers)
        try:
            yield page
        finally:
            page.session = ""
            page.call("Browser.close")
