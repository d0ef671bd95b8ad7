"""Django's handle on this app."""

from django.apps import AppConfig
from django.conf import settings


class OrdersConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "orders"

    def ready(self) -> None:
        """Have figures and invoices follow the orders, and webhooks be worked off at once."""
        # Models are loaded only now.
        from orders import tasks  # noqa: PLC0415
        from orders.services import customer_metrics, events, invoicing  # noqa: PLC0415

        customer_metrics.subscribe()
        invoicing.subscribe()
        if settings.ENVIRONMENT != "test":
            events.set_nudge(tasks.nudge_events)
