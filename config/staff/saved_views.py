"""Lists as staff have filtered them, to be opened again by one click, by oneself or by all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpResponseRedirect, QueryDict
from django.urls import reverse

from audit import services as audit
from config.kernel import request_context
from customers.models import SavedView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.contrib.admin import AdminSite
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

NOT_KEPT: Final = ("q", "p", "e", "all")
"""Of a list's address: what was searched for names customers, and the page is of the moment."""
LONGEST_QUERY: Final = 1_000  # as the column
MOST: Final = 30  # of a person, for a list


class SaveForm(forms.Form):
    page = forms.RegexField(r"^[a-z_]+\.[a-z]+$", max_length=100)
    name = forms.CharField(max_length=60)
    query = forms.CharField(max_length=2_000, required=False)
    is_shared = forms.BooleanField(required=False)


def visible(*, page: str, user_id: int) -> QuerySet[SavedView]:
    """One's own views of a list, and those that others share."""
    views = SavedView.objects.filter(Q(owner_id=user_id) | Q(is_shared=True), page=page)
    return views.select_related("owner").order_by("name", "pk")


def kept_query(query: str) -> str:
    """What of a list's address is kept."""
    kept = QueryDict(query, mutable=True)
    for name in NOT_KEPT:
        kept.pop(name, None)
    return kept.urlencode()


def save(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Keep the list as it is filtered now; the same name again takes the place of the former."""
    form = SaveForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Not kept: a view needs a name of up to 60 characters.")
        return HttpResponseRedirect(reverse("admin:index"))
    said = form.cleaned_data
    list_url = _list_of(site, request, said["page"])
    query = kept_query(said["query"])
    where = f"{list_url}?{query}"
    if not query:
        messages.error(request, "Not kept: nothing is filtered. What was searched for is not kept.")
        return HttpResponseRedirect(list_url)
    if len(query) > LONGEST_QUERY:
        messages.error(request, "Not kept: these are too many filters.")
        return HttpResponseRedirect(where)
    mine = SavedView.objects.filter(owner_id=request.user.pk, page=said["page"])
    if mine.count() >= MOST and not mine.filter(name=said["name"]).exists():
        messages.error(request, f"Not kept: at most {MOST} of a list. Delete one first.")
        return HttpResponseRedirect(where)
    with transaction.atomic():
        view, _ = SavedView.objects.update_or_create(
            owner_id=request.user.pk,
            page=said["page"],
            name=said["name"],
            defaults={"query": query, "is_shared": said["is_shared"]},
        )
        _record("VIEW_SAVED", request, view)
    messages.success(request, f"Kept as “{view.name}”.")
    return HttpResponseRedirect(where)


def delete(site: AdminSite, request: HttpRequest, view_id: int) -> HttpResponse:
    """Forget one of one's own views."""
    view = SavedView.objects.filter(pk=view_id, owner_id=request.user.pk).first()
    if view is None:
        raise Http404
    list_url = _list_of(site, request, view.page)
    with transaction.atomic():
        _record("VIEW_DELETED", request, view)
        view.delete()
    messages.success(request, f"“{view.name}” is gone.")
    return HttpResponseRedirect(list_url)


def _list_of(site: AdminSite, request: HttpRequest, page: str) -> str:
    """The list's address, for whoever may read it."""
    found = next((one for one in site._registry if one._meta.label_lower == page), None)  # noqa: SLF001 - Django's own names
    if found is None:
        raise Http404
    if not site.get_model_admin(found).has_view_permission(request):
        raise PermissionDenied
    return reverse(f"admin:{page.replace('.', '_')}_changelist")


def _record(event_type: str, request: HttpRequest, view: SavedView) -> None:
    request_context.set_user(user_id=request.user.pk)
    audit.record(
        event_type,
        entity_type="saved_view",
        entity_id=view.pk,
        data={"page": view.page, "is_shared": view.is_shared},
    )


def chips(request: HttpRequest, *, page: str) -> list[dict[str, Any]]:
    """The views above a list, as `staff/saved_views.html` draws them."""
    user_id = request.user.pk
    present = kept_query(request.GET.urlencode())
    views: Sequence[SavedView] = list(visible(page=page, user_id=user_id)) if user_id else []
    return [
        {
            "view": view,
            "is_mine": view.owner_id == user_id,
            "is_here": bool(present) and view.query == present,
        }
        for view in views
    ]
