"""Reports errors to Sentry when SENTRY_DSN is set; a report says what broke, never whose it was."""

from __future__ import annotations

from typing import Any

import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration

from config.kernel import request_context
from config.logging import redacted

_SAFE_HEADERS = frozenset({"accept", "content-length", "content-type", "host", "x-request-id"})


def start(*, dsn: str, environment: str) -> None:
    """Begin to report; without a DSN nothing is sent anywhere."""
    if not dsn:
        return
    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        before_send=before_send,
        before_breadcrumb=before_breadcrumb,
        integrations=[LoggingIntegration(event_level=None)],
    )


def before_send(event: Any, _hint: dict[str, Any]) -> Any:
    """Keep what helps to find the fault: route, types, frames, our ids. Drop all that was sent."""
    request = event.get("request", {})
    event["request"] = {
        "method": request.get("method"),
        "headers": {
            name: value
            for name, value in request.get("headers", {}).items()
            if name.lower() in _SAFE_HEADERS
        },
    }
    context = request_context.current()
    event["user"] = {"id": context.user_id} if context.user_id else {}
    event.setdefault("tags", {})["request_id"] = context.request_id
    for raised in event.get("exception", {}).get("values", []):
        raised["value"] = redacted((raised.get("value") or "").partition("\n")[0])
        for frame in (raised.get("stacktrace") or {}).get("frames", []):
            frame.pop("vars", None)
    if message := event.get("logentry"):
        event["logentry"] = {"message": redacted(str(message.get("message", "")))}
    event.pop("extra", None)
    return event


def before_breadcrumb(crumb: Any, _hint: dict[str, Any]) -> Any:
    """Which calls and queries came before, without their parameters."""
    if message := crumb.get("message"):
        crumb["message"] = redacted(message)
    crumb.pop("data", None)
    return crumb
