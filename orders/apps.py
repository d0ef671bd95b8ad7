"""Django's handle on this app."""

from django.apps import AppConfig
from django.conf import settings


class OrdersConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "orders"

    def ready(self) -> None:
        """Have figures and guests' orders follow the facts, and webhooks be worked off at once."""
        # Models are loaded only now.
        from orders import tasks  # noqa: PLC0415
        from orders.services import (  # noqa: PLC0415
            customer_metrics,
            events,
            guest_orders,
            privacy,
            saved_cards,
        )

        customer_metrics.subscribe()
        guest_orders.subscribe()
        privacy.subscribe()
        saved_cards.subscribe()
        if settings.ENVIRONMENT != "test":
            events.set_nudge(tasks.nudge_events)
