"""Django's handle on this app."""

from django.apps import AppConfig
from django.conf import settings


class OrdersConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "orders"

    def ready(self) -> None:
        """Have what follows the facts subscribe to them, and webhooks be worked off at once."""
        # Models are loaded only now.
        from orders import tasks  # noqa: PLC0415
        from orders.services import (  # noqa: PLC0415
            customer_metrics,
            events,
            guest_orders,
            invoicing,
            jobs,
            privacy,
            saved_cards,
        )

        for following in (customer_metrics, invoicing, guest_orders, privacy, saved_cards):
            following.subscribe()
        if settings.ENVIRONMENT != "test":
            events.set_nudge(tasks.nudge_events)
            jobs.set_nudge(tasks.nudge_jobs)
