"""Brings the database up to date: migrations and, outside production, the demo data.

One process for both, since importing Django takes longer than finding that nothing is to be done.
"""

from __future__ import annotations

import django
from django.conf import settings
from django.core.management import call_command

from config.env import apply_settings_module


def main() -> None:
    """Migrate and load; idempotent."""
    apply_settings_module()
    django.setup()
    call_command("migrate", interactive=False)
    if settings.ENVIRONMENT != "production":
        call_command("load_demo_data")


if __name__ == "__main__":
    main()
