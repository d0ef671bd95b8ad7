"""Django's handle on this app."""

from django.apps import AppConfig
from django.conf import settings


class IntegrationsConfig(AppConfig):
    """Everyone outside who is told what happened; each is a subscriber of outbox facts."""

    name = "integrations"

    def ready(self) -> None:
        """Have everyone subscribe, and what carriers tell be worked off at once."""
        # Models are loaded only now.
        from integrations import subscriptions, tasks  # noqa: PLC0415
        from integrations.fulfilment import tracking  # noqa: PLC0415

        subscriptions.subscribe_all()
        if settings.ENVIRONMENT != "test":
            tracking.set_nudge(tasks.nudge_tracking)
