"""The admin as an app: its templates and files stand before those they take the place of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.utils.html import format_html

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


class StaffConfig(AppConfig):
    """Pages that belong to no single app of ours."""

    name = "config.staff"
    label = "staff"

    def ready(self) -> None:
        """Have JSON shown as plain text: unfold colours it by styles that our policy forbids."""
        import unfold.fields  # noqa: PLC0415 - only now are apps in place

        unfold.fields.prettify_json = _plain_json


def _plain_json(data: Any, encoder: type[json.JSONEncoder] | None) -> SafeString:
    return format_html(
        '<pre class="staff-json">{}</pre>',
        json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, cls=encoder),
    )
