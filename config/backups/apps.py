"""An app for its commands: `backup`, `restore` and `restore_drill`."""

from django.apps import AppConfig


class BackupsConfig(AppConfig):
    """Has no tables."""

    name = "config.backups"
    label = "backups"
