"""A real, headless Firefox, driven by its Marionette protocol: a local socket, no client."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.browser import PATIENCE

_PREFERENCES = {
    "marionette.port": 0,  # any that is free; it is told in a file
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "app.update.enabled": False,
    "browser.startup.page": 0,
}
KEYS = {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}
KEYS |= {"Enter": "\ue007", "Escape": "\ue00c", "Control": "\ue009"}


def firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """One window at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb")
        self._count = 0
        self._receive()  # who it is
        self.call("WebDriver:NewSession", capabilities={"alwaysMatch": {}})

    def call(self, method: str, **parameters: object) -> Any:
        self._count += 1
        message = json.dumps([0, self._count, method, parameters]).encode()
        self._file.write(b"%d:%s" % (len(message), message))
        self._file.flush()
        _, number, error, result = self._receive()
        assert number == self._count and error is None, f"{method}: {error}"
        return result["value"] if isinstance(result, dict) and set(result) == {"value"} else result

    def _receive(self) -> Any:
        length = b""
        while (byte := self._file.read(1)) != b":":
            assert byte, "the browser has ended"
            length += byte
        return json.loads(self._file.read(int(length)))

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, which sees the document, but not what the
        page's own scripts have declared."""
        return self.call("WebDriver:ExecuteScript", script=f"return {expression}", args=[])

    def wait(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"never came true: {condition}"
            time.sleep(0.02)

    def open(self, page: Path | str) -> None:
        address = page if isinstance(page, str) else page.as_uri()
        self.call("WebDriver:Navigate", url=address)
        self.wait("document.documentElement?.dataset.ready === 'true'")

    @contextmanager
    def second_tab(self, page: Path) -> Iterator[None]:
        """Another tab with that page, which all calls go to until it ends."""
        first = self.call("WebDriver:GetWindowHandle")
        second = self.call("WebDriver:NewWindow", type="tab", focus=True)["handle"]
        self.call("WebDriver:SwitchToWindow", handle=second)
        self.open(page)
        yield
        self.call("WebDriver:CloseWindow")
        self.call("WebDriver:SwitchToWindow", handle=first)

    def press(self, *keys: str, control: bool = False) -> None:
        """Real key events, to what has the focus."""
        steps = []
        for key in keys:
            value = KEYS.get(key, key)
            steps += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        if control:
            held = KEYS["Control"]
            steps = [{"type": "keyDown", "value": held}, *steps, {"type": "keyUp", "value": held}]
        self._act({"type": "key", "id": "keys", "actions": steps})

    def click(self, selector: str, x: float = 0.5, y: float = 0.5, touch: bool = False) -> None:
        """A real click, or tap, at shares of an element's width and height."""
        found = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()"
        box = self.evaluate(found)
        place = {"x": round(box["x"] + x * box["width"]), "y": round(box["y"] + y * box["height"])}
        steps = [{"type": "pointerMove", **place}]
        steps += [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        kind = {"pointerType": "touch" if touch else "mouse"}
        self._act({"type": "pointer", "id": f"p{touch}", "parameters": kind, "actions": steps})

    def _act(self, actions: dict[str, object]) -> None:
        self.call("WebDriver:PerformActions", actions=[actions])

    def screenshot(self) -> bytes:
        """What is seen, as PNG."""
        told = self.call("WebDriver:TakeScreenshot", full=False, hash=False)
        return base64.b64decode(told)


@contextmanager
def started_firefox(profile: Path) -> Iterator[Firefox]:
    program = firefox()
    assert program
    lines = (f"user_pref({json.dumps(key)}, {json.dumps(it)});" for key, it in _PREFERENCES.items())
    (profile / "user.js").write_text("\n".join(lines))
    command = [program, "--headless", "--no-remote", "--marionette", "--profile", str(profile)]
    process = subprocess.Popen(
        command,
        env={**os.environ, "HOME": str(profile)},  # it writes folders there
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        told, end = profile / "MarionetteActivePort", time.monotonic() + PATIENCE
        while not (told.exists() and told.read_text().strip()):
            assert process.poll() is None and time.monotonic() < end, "Firefox does not start"
            time.sleep(0.05)
        with socket.create_connection(("127.0.0.1", int(told.read_text()))) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
