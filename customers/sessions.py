"""Sessions that know whose they are: an erasure ends and removes all of a customer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.account.utils import url_str_to_user_pk
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

if TYPE_CHECKING:
    from customers.models import Session


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
        return session  # type: ignore[no-any-return]


def _of_pending_log_in(data: dict[str, Any]) -> int | None:
    """Whose log-in waits for its second factor: it holds their address as well."""
    told = (data.get(LOGIN_SESSION_KEY) or {}).get("user_pk")
    return None if told is None else url_str_to_user_pk(told)
