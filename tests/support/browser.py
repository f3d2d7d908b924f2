"""A real, headless Chromium, driven by its DevTools protocol over two pipes: no port, no client."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--hide-scrollbars", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--remote-debugging-pipe"),
)
PATIENCE = 60.0  # seconds, on a busy machine
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Escape": 27}
KEYS |= {"Enter": 13, "Home": 36, "End": 35, "PageDown": 34, "Delete": 46}
CTRL, SHIFT = 2, 8


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page. What it logs as errors, refused resources among them, is in `errors`."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._unread, self._count, self._session = b"", 0, ""
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._count += 1
        request: dict[str, object] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            some = os.read(self._answers, 2**20)
            assert some, "the browser has ended"
            self._unread += some
        message, _, self._unread = self._unread.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        if told.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(told["params"]["exceptionDetails"]))
        elif told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
            self.errors.append(str(told["params"]["entry"]["text"]))
        return told

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript; promises are awaited."""
        told = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.02)

    def forget(self) -> None:
        """Clear what pages from a disk have kept."""
        self.call("Storage.clearDataForOrigin", origin="file://", storageTypes="local_storage")

    def open(self, page: Path) -> None:
        self.call("Page.navigate", url=page.as_uri())
        self.wait("document.documentElement?.dataset.ready === 'true'")

    @contextmanager
    def second_tab(self, page: Path) -> Iterator[None]:
        """Another tab with that page, which all calls go to until it ends."""
        first, self._session = self._session, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.open(page)
        yield
        self._session = ""
        self.call("Target.closeTarget", targetId=target)
        self._session = first

    def press(self, *keys: str, modifiers: int = 0) -> None:
        """Real key events, to what has the focus. modifiers: a sum of CTRL and SHIFT."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            code = KEYS.get(key, ord(key[0].upper()))
            for kind in ("keyDown", "keyUp"):
                about = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
                about |= {} if modifiers & CTRL else text
                self.call("Input.dispatchKeyEvent", type=kind, **about)

    def point(self, kind: str, selector: str, x: float, y: float) -> None:
        """A real event of the mouse (mousePressed, mouseMoved, mouseReleased), or a tap ("tap"), at
        shares of an element's width and height."""
        element = f"document.querySelector({json.dumps(selector)})"
        box = self.evaluate(f"{element}.getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        if kind == "tap":
            self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
            self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        else:
            about = {"button": "left", "clickCount": 1, **place}
            self.call("Input.dispatchMouseEvent", type=kind, **about)

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.point(kind, selector, x, y)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def accessibility(self, name: str) -> list[dict[str, Any]]:
        """What assistive technology gets: role, name and properties of each node.

        name: what the name of some node begins with; it is waited for, as nodes follow the page
        with a delay.
        """
        end = time.monotonic() + PATIENCE
        while True:
            nodes = self._nodes()
            if any(node["name"].startswith(name) for node in nodes):
                return nodes
            assert time.monotonic() < end, f"assistive technology never got {name}"
            time.sleep(0.02)

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": node.get("role", {}).get("value"),
                "name": node.get("name", {}).get("value", ""),
                **{each["name"]: each["value"].get("value") for each in node.get("properties", ())},
            }
            for node in nodes
            if not node["ignored"]
        ]


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    program = chromium()
    assert program
    to_it, requests = os.pipe()
    answers, from_it = os.pipe()
    # A shell puts the pipes where Chromium looks for them.
    start = f'exec "$@" 3<&{to_it} 4>&{from_it}'
    command = ["bash", "-c", start, "browser", program, *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command, pass_fds=(to_it, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(to_it)
    os.close(from_it)
    try:
        driven = Browser(requests, answers)
        yield driven
        driven._session = ""
        driven.call("Browser.close")
    finally:
        os.close(requests)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(answers)
