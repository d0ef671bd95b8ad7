"""Sessions that know whose they are: an erasure ends and removes all of a customer's.

They also know since when they are one of staff (`customers.staff_log_in`), so that those can be
counted and ended.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.account.utils import url_str_to_user_pk
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

if TYPE_CHECKING:
    from customers.models import Session

STAFF: Final = "staff"
"""In a session of staff: since when it is one, and when somebody was last seen in it."""
HALF_WAY: Final = "staff_half_way"
"""In the session of somebody whose second factor is still to be asked for: who it is."""


class SessionStore(DatabaseStore):
    """See `SESSION_ENGINE`."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        from customers.models import Session  # noqa: PLC0415 - models are loaded only now

        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """The row; the customer is read from what is stored in it."""
        session: Any = super().create_model_instance(data)
        session.customer_id = data.get(SESSION_KEY) or _of_pending_log_in(data)
        if STAFF in data:
            session.staff_since = datetime.fromtimestamp(data[STAFF]["since"], UTC)
        return session  # type: ignore[no-any-return]


def staff_session_lasts() -> timedelta:
    """How long a session of staff lasts, whatever is done in it."""
    return timedelta(hours=settings.STAFF_SESSION_HOURS)


def _of_pending_log_in(data: dict[str, Any]) -> int | None:
    """Whose log-in waits for its second factor: it holds their address as well."""
    if HALF_WAY in data:
        return int(data[HALF_WAY]["customer"])
    told = (data.get(LOGIN_SESSION_KEY) or {}).get("user_pk")
    return None if told is None else url_str_to_user_pk(told)
