"""A headless Chromium, driven over its DevTools protocol: what a person sees, does, and what the console says."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no chromium here: apt-get install chromium")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--no-default-browser-check", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--mute-audio", "--hide-scrollbars", "--remote-debugging-port=0"),
)

KEY_CODES = {"Tab": 9, "Enter": 13, "Escape": 27, "Delete": 46}
KEY_CODES |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Tab:
    """One page in the browser. Commands are answered in turn; what comes in between is kept."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.problems: list[str] = []
        """Errors of the console and exceptions that nobody caught."""
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> Any:
        """One command."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(30))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]
            self._heed(message)

    def _heed(self, message: dict[str, Any]) -> None:
        about = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(about["exceptionDetails"])[:500])
        elif message["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.problems.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
        elif message["method"] == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
            self.problems.append(json.dumps(about["args"])[:500])

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        found = self._evaluated(expression)
        assert "exceptionDetails" not in found, f"{expression}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def _evaluated(self, expression: str) -> Any:
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)

    def until(self, expression: str, wanted: Callable[[Any], bool] = bool, seconds: float = 30.0) -> Any:
        """The value as soon as there is one, and it is what is wanted."""
        deadline = time.monotonic() + seconds
        while (value := self._evaluated(expression)["result"].get("value")) is None or not wanted(value):
            assert time.monotonic() < deadline, f"{expression} stays {value!r}; {self.problems}"
            time.sleep(0.02)
        return value

    def open(self, url: str, width: int = 1400, height: int = 1000, *, mobile: bool = False) -> None:
        """Load a page, in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Page.navigate", url=url)

    def text(self, selector: str) -> str:
        """What an element says."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def click(self, selector: str) -> None:
        """As a mouse does."""
        box = self.box(selector)
        self.mouse("mousePressed", box[0] + box[2] / 2, box[1] + box[3] / 2)
        self.mouse("mouseReleased", box[0] + box[2] / 2, box[1] + box[3] / 2)

    def box(self, selector: str) -> list[float]:
        """[left, top, width, height] of an element, which is brought into view."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center'}})")
        found = self.run(f"(b => [b.x, b.y, b.width, b.height])({element}.getBoundingClientRect())")
        assert isinstance(found, list)
        return found

    def key(self, name: str, modifiers: int = 0) -> None:
        """Press a key and let it go; modifiers: 2 is control, 8 is shift."""
        code = KEY_CODES.get(name, 0)
        for kind in ("rawKeyDown", "keyUp"):
            about = {"key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self.ask("Input.dispatchKeyEvent", type=kind, **about)

    def touch(self, *fingers: tuple[float, float], kind: str = "touchMove") -> None:
        """Where the fingers are; kind: touchStart, touchMove, or (with no fingers left) touchEnd."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
        self.ask("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """mousePressed, mouseMoved or mouseReleased, with the left button."""
        held = 0 if kind == "mouseReleased" else 1
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press, move in steps, release."""
        self.mouse("mousePressed", *start)
        for step in range(1, 5):
            self.mouse("mouseMoved", *(a + (b - a) * step / 4 for a, b in zip(start, end, strict=True)))
        self.mouse("mouseReleased", *end)

    def screenshot(self, path: Path) -> None:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


class Browser:
    """Opens tabs."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new one, in a window of its own."""
        with connect(json_of(self._port, "version")["webSocketDebuggerUrl"], max_size=None, proxy=None) as browser:
            command = {"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank", "newWindow": True}}
            browser.send(json.dumps(command))
            while "id" not in (answer := json.loads(browser.recv(30))):
                pass
            target = answer["result"]["targetId"]
            address = f"ws://127.0.0.1:{self._port}/devtools/page/{target}"
            with connect(address, max_size=None, proxy=None, ping_interval=None) as connection:
                yield Tab(connection)
            browser.send(json.dumps({"id": 2, "method": "Target.closeTarget", "params": {"targetId": target}}))
            while json.loads(browser.recv(30)).get("id") != 2:
                pass


def json_of(port: int, what: str) -> Any:
    """What the browser says of itself."""
    with urlopen(f"http://127.0.0.1:{port}/json/{what}", timeout=30) as answer:
        return json.loads(answer.read())


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile below `folder`."""
    assert PROGRAM is not None
    profile = folder / "chromium"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, *FLAGS, f"--user-data-dir={profile}"], stdout=log, stderr=log)
    try:
        told = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (told.exists() and told.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < deadline, "chromium did not start"
            time.sleep(0.02)
        yield Browser(int(told.read_text().split()[0]))
    finally:
        process.kill()
        process.wait()
