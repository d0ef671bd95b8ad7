"""What our templates of the admin ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template

from config.staff import saved_views

if TYPE_CHECKING:
    from django.template.context import Context

register = template.Library()


@register.simple_tag(takes_context=True)
def saved_view_chips(context: Context) -> list[dict[str, Any]]:
    """The saved views of the list on the page."""
    return saved_views.chips(context["request"], page=context["cl"].opts.label_lower)


@register.simple_tag(takes_context=True)
def filters_in_use(context: Context) -> str:
    """The list's filters as its address has them, without what is searched for."""
    return saved_views.kept_query(context["request"].GET.urlencode())
