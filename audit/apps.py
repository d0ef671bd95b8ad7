"""Django's handle on this app."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """See the package's modules for what it does."""

    name = "audit"
