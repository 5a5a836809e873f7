"""A page in the browser, as a person handles it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, BrowserContext, Locator, Page

FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Viewer:
    """A page opened from a file.

    Attributes:
        page: the page.
        problems: errors that the page reported, and addresses that it asked for.
    """

    page: Page

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser, self._folder = browser, folder
        self._contexts: list[BrowserContext] = []
        self.problems: list[str] = []

    def open(
        self, html: str, arranged: dict[str, Any] | None = None, *, phone: bool = False, dark: bool = False
    ) -> Viewer:
        """Open a document as a file, with a fragment that arranges it."""
        path = self._folder / "page.html"
        path.write_text(html)
        context = self._browser.new_context(
            viewport={"width": 390, "height": 844} if phone else {"width": 1280, "height": 800},
            color_scheme="dark" if dark else "light",
            has_touch=phone,
            offline=True,
        )
        self._contexts.append(context)
        self.page = context.new_page()
        self.page.set_default_timeout(5000)
        self.page.on("console", lambda said: self.problems.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        fragment = "" if arranged is None else f"#view={quote(json.dumps(arranged))}"
        self.page.goto(path.as_uri() + fragment)
        return self.settle()

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "blob:", "data:", "about:")):
            self.problems.append(f"request to {url}")

    def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            context.close()

    def settle(self) -> Viewer:
        """Wait until what was changed is drawn."""
        self.page.evaluate(FRAME)
        return self

    def node(self, key: str) -> Locator:
        """Return a node of the picture."""
        return self.page.locator(f'g.node[data-key="{key}"]')

    def click(self, where: str | Locator, *modifiers: Any) -> Viewer:
        """Click, and wait until it is drawn."""
        locator = self.page.locator(where) if isinstance(where, str) else where
        box = locator.locator(".box")
        (box if box.count() else locator).click(modifiers=list(modifiers), force=bool(box.count()))
        return self.settle()

    def saved(self, what: str) -> bytes:
        """Return the file that one of the entries of the menu Export saves."""
        self.page.click("#export summary")
        with self.page.expect_download() as download:
            self.page.click(f"#save-{what}")
        return Path(download.value.path()).read_bytes()

    def seen(self) -> dict[str, Any]:
        """Return what is seen, as the page exports it."""
        return json.loads(self.saved("json"))  # type: ignore[no-any-return]

    def edges(self) -> set[str]:
        """Return the names of the edges that are seen."""
        return {edge["edge"] for edge in self.seen()["edges"]}

    def arranged(self) -> dict[str, Any]:
        """Return what the address keeps."""
        self.page.wait_for_timeout(220)
        text = self.page.evaluate("decodeURIComponent(location.hash)")
        return json.loads(text.removeprefix("#view=") or "{}")  # type: ignore[no-any-return]

    def name(self, key: str, text: str) -> Viewer:
        """Name a node."""
        self.click(self.node(key))
        self.page.fill("#rename", text)
        self.page.press("#rename", "Enter")
        return self.settle()
