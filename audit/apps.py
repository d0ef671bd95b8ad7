"""Django's handle on this app."""

from django.apps import AppConfig
from django.conf import settings


class AuditConfig(AppConfig):
    """Connects the outbox with the broker; tests that want a nudge connect it themselves."""

    name = "audit"

    def ready(self) -> None:
        from audit import outbox, tasks  # noqa: PLC0415 - models are loaded only now

        if settings.ENVIRONMENT != "test":
            outbox.set_nudge(tasks.nudge_relay)
