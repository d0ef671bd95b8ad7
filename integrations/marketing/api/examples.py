"""Bodies by example, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

UNSUBSCRIBE_TOKEN: Final = "42.w0V0Wc2b8W1yQm1h3QJ0f6m8x0nV9d5lqk0r3tYp7aE"  # noqa: S105 - signed by nobody
ONE_CLICK: Final = {"List-Unsubscribe": "One-Click"}
ASKED: Final = {"unsubscribed": False}
DONE: Final = {"unsubscribed": True}
EVENT: Final[dict[str, Any]] = {
    "type": "contact.unsubscribed",
    "data": {"contact_id": "42"},
}
RECEIVED: Final = {"received": True}
