"""A headless Chromium for tests that look at pages as people do; whatever it complains of fails.

`tests/conftest.py` has the fixture `chromium`. Tests name `IN_A_BROWSER` as their marks.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SCREENSHOTS = Path(settings.BASE_DIR, ".local", "screenshots")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 320, "height": 640}
WAIT = 20_000  # milliseconds for whatever is waited for: a busy machine is no failure
REFUSED = "Failed to load resource"  # what a browser says of each answer that is an error
IN_A_BROWSER = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not BROWSER, reason="no Chromium here: apt-get install chromium"),
]


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser, whose loop runs in this thread."""
    # Django would take our own queries for asynchronous ones.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def watched(
    browser: Browser, *, base_url: str, may_be_refused: bool = False, **options: Any
) -> Iterator[Page]:
    """A page of a browser that has never been here, with `options` of Playwright's context.

    When it is closed: no error in the console (the policy's complaints are some), none that no
    script caught, and no dialog may have been. `may_be_refused`: answers may be errors.
    """
    context = browser.new_context(
        base_url=base_url, **{"viewport": DESKTOP, "locale": "en-US", **options}
    )
    context.set_default_timeout(WAIT)
    context.set_default_navigation_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page = context.new_page()
    broken: list[str] = []

    def note_error(said: ConsoleMessage) -> None:
        if said.type == "error" and not (may_be_refused and said.text.startswith(REFUSED)):
            broken.append(f"{page.url}: {said.text}")

    def dismiss(dialog: Dialog) -> None:
        broken.append(f"{page.url}: a dialog")
        dialog.dismiss()

    page.on("console", note_error)
    page.on("pageerror", lambda error: broken.append(f"{page.url}: {error.stack or error}"))
    page.on("dialog", dismiss)
    yield page
    context.close()
    if broken:
        pytest.fail("\n".join(broken))


def shoot(page: Page, name: str) -> None:
    """Keep a picture of the whole page for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size
    assert size
    # What sticks to an edge of the window would be taken in the middle of a page that is longer.
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({**size, "height": max(height, size["height"])})
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    page.set_viewport_size(size)
