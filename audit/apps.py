"""Django's handle on this app."""

from django.apps import AppConfig
from django.conf import settings


class AuditConfig(AppConfig):
    """Connects outbox and seals with the broker; tests that want that connect it themselves."""

    name = "audit"

    def ready(self) -> None:
        # Models are loaded only now.
        from audit import outbox, tasks  # noqa: PLC0415
        from audit.seals import verification  # noqa: PLC0415

        if settings.ENVIRONMENT != "test":
            outbox.set_nudge(tasks.nudge_relay)
            verification.set_starter(tasks.start_verification)
