"""The export and import buttons above a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template

if TYPE_CHECKING:
    from django.template import Context

register = template.Library()


@register.simple_tag(takes_context=True)
def transfer_links(context: Context) -> list[dict[str, str]]:
    """What the list on this page offers to this person; nothing in a pop-up."""
    opts: Any = context.get("opts")
    if opts is None or context.get("is_popup"):
        return []
    # Unfold makes a template engine while it is imported, and that imports all libraries: whichever
    # page's module comes first, the others are not there yet.
    from config.staff import transfer  # noqa: PLC0415

    request = context["request"]
    return transfer.links_for(request, opts.label_lower, request.GET.urlencode())
