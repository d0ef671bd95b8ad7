"""Django's handle on this app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "orders"
