"""Django's handle on this app."""

from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    """Everyone outside who is told what happened; each is a subscriber of outbox facts."""

    name = "integrations"

    def ready(self) -> None:
        # Models are loaded only now.
        from integrations import subscriptions  # noqa: PLC0415
        from integrations.webhooks import log as webhook_log  # noqa: PLC0415
        from orders.services import retention  # noqa: PLC0415

        subscriptions.subscribe_all()
        retention.add_policy(webhook_log.POLICY)
