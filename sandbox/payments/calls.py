"""One request as the endpoints see it: who is asked for what, free of HTTP."""

import re
from dataclasses import dataclass, field
from typing import Any

from sandbox.payments.forms import Form
from sandbox.payments.parameters import DEFAULT_API_VERSION
from sandbox.payments.store import Store

API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")


@dataclass(kw_only=True)
class Call:
    """A decoded request.

    `params` holds the decoded form until the endpoint's schema has read it, typed values after.
    """

    store: Store
    request_id: str
    method: str
    path: str
    now: int  # Unix seconds
    base_url: str  # how the client reached this server, for links in answers
    idempotency_key: str | None = None
    api_version: str = DEFAULT_API_VERSION
    object_id: str = ""  # the id inside the path, if there is one
    params: Form = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a parameter, or `default` if it was not sent."""
        return self.params.get(name, default)
