"""A headless Chromium, driven through pipes (the DevTools protocol), for tests that look at a page."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)

# Chromium reads commands from descriptor 3 and answers on 4; this puts our pipes there.
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


def find():
    """The browser's path, or None where none is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page in a browser of its own; a context manager."""

    def __init__(self, profile, timeout=60):
        self._timeout = timeout
        self._number = 0
        self._received = b""
        self.events = []
        read_there, write_here = self._pipe()
        read_here, write_there = self._pipe()
        self._read, self._write = read_here, write_here
        launch = [sys.executable, "-c", _LAUNCH, str(read_there), str(write_there), find()]
        self._process = subprocess.Popen(
            [*launch, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_there)
        os.close(write_there)
        self._session = None
        target = next(one for one in self("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")

    @staticmethod
    def _pipe():
        """A pipe whose ends are clear of descriptors 3 and 4."""
        ends = os.pipe()
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
        for end in ends:
            os.close(end)
        return moved

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        with contextlib.suppress(OSError):
            self._send("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def _send(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        return self._number

    def _next(self, deadline):
        while b"\0" not in self._received:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("the browser has gone")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def __call__(self, method, **parameters):
        """Call a method of the DevTools protocol; what happens meanwhile is added to `events`."""
        number = self._send(method, **parameters)
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._next(deadline)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, method):
        """Wait until an event of this kind has come."""
        deadline = time.monotonic() + self._timeout
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next(deadline))

    def open(self, uri):
        """Go to a page and wait until it is loaded."""
        self.events = []
        self("Page.navigate", url=uri)
        self.wait_for("Page.loadEventFired")

    def look(self, width, height=900, *, dark=False, scale=1):
        """Set the window's size and the colour scheme."""
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self("Emulation.setEmulatedMedia", features=features)

    def evaluate(self, script):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self, top=None, height=900):
        """A PNG of the window, or of a strip of the page that begins at `top`."""
        options = {}
        if top is not None:
            width = self.evaluate("innerWidth")
            options = {"clip": {"x": 0, "y": top, "width": width, "height": height, "scale": 1}}
        return base64.b64decode(self("Page.captureScreenshot", captureBeyondViewport=True, **options)["data"])

    def problems(self):
        """Errors and warnings that the page caused: console, exceptions, what the policy refused."""
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and parameters["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(str(parameters["args"]))
            elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(str(parameters["entry"]))
        return found

    def requests(self):
        """Every address that was asked for, but for ``data:``."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
            and not event["params"]["request"]["url"].startswith("data:")
        ]
