"""Django's handle on this app."""

from django.apps import AppConfig


class CustomersConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "customers"

    def ready(self) -> None:
        """Listen to log-ins."""
        from customers import listeners  # noqa: PLC0415 - models are loaded only now

        listeners.connect()
