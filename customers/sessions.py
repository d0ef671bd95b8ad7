"""Sessions that know whose they are: an erasure ends and removes all of a customer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        session.customer_id = data.get(SESSION_KEY)
        return session  # type: ignore[no-any-return]
