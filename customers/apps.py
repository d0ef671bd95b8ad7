"""Django's handle on this app."""

from django.apps import AppConfig


class CustomersConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "customers"
