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
        from integrations.marketing import contacts  # noqa: PLC0415
        from integrations.support import order_links, tickets  # noqa: PLC0415
        from integrations.webhooks import log as webhook_log  # noqa: PLC0415
        from orders import order_page  # noqa: PLC0415
        from orders.services import privacy, retention  # noqa: PLC0415

        subscriptions.subscribe_all()
        order_page.add_links(order_links.links_of, right=order_links.RIGHT)
        privacy.add_export("marketing", contacts.export)
        privacy.add_export("support", tickets.export)
        retention.add_policy(webhook_log.POLICY)
        if settings.ENVIRONMENT != "test":
            tracking.set_nudge(tasks.nudge_tracking)
