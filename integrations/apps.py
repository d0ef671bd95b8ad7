"""Django's handle on this app."""

from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    """Everyone outside who is told what happened; each is a subscriber of outbox facts."""

    name = "integrations"

    def ready(self) -> None:
        from integrations import subscriptions  # noqa: PLC0415 - models are loaded only now

        subscriptions.subscribe_all()
