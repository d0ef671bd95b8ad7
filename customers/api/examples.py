"""What requests and answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

PROFILE: Final[dict[str, Any]] = {
    "id": 4711,
    "email": "ada@example.com",
    "email_verified": True,
    "first_name": "Ada",
    "last_name": "Lovelace",
    "phone": None,
    "date_of_birth": None,
    "marketing_consent": False,
    "version": 1,
    "created_at": "2026-11-20T08:00:00.313370Z",
}
PROFILE_CHANGE: Final[dict[str, Any]] = {"version": 1, "phone": "+1 212 555 0100"}
CHANGED_PROFILE: Final[dict[str, Any]] = {**PROFILE, **PROFILE_CHANGE, "version": 2}

ADDRESS: Final[dict[str, Any]] = {
    "name": "Ada Lovelace",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}
ADDRESS_ID: Final = "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e"
SAVED_ADDRESS: Final[dict[str, Any]] = {"id": ADDRESS_ID, **ADDRESS}
ADDRESS_CHANGE: Final[dict[str, Any]] = {"line1": "350 Fifth Avenue", "postal_code": "10118"}
ADDRESS_PAGE: Final[dict[str, Any]] = {"next": None, "previous": None, "results": [SAVED_ADDRESS]}
