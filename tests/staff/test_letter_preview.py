"""How letters look: frames show them as they are sent, and no policy complains."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import IN_A_BROWSER

pytestmark = IN_A_BROWSER


@pytest.mark.parametrize(
    ("language", "heading", "side"),
    [("English", "Your order is confirmed", "left"), ("العربية", "تم تأكيد طلبك", "right")],
)
def test_a_letter_is_chosen_and_looked_at(page, language, heading, side):
    page.goto("/admin/")
    page.get_by_role("link", name="How letters look").click()
    page.get_by_label("Language").select_option(label=language)
    page.get_by_role("button", name="Show").click()

    for title in ("The letter as HTML", "The letter on a telephone"):
        framed = page.frame_locator(f"iframe[title='{title}']").get_by_text(heading, exact=True)
        expect(framed).to_be_visible()
        expect(framed).to_have_css("font-size", "24px")
        expect(framed).to_have_css("text-align", side)
