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
