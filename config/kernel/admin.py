"""What our admin pages have in common: lists that stay cheap, and pages that only show."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlencode

import unfold.admin
from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import camel_case_to_spaces

from config.kernel import money

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from django.contrib import admin
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.utils.safestring import SafeString

    ModelAdmin = admin.ModelAdmin[Any]
    BaseInline = admin.TabularInline[Any, Any]
    BasePaginator = Paginator[Any]
else:
    ModelAdmin = unfold.admin.ModelAdmin
    BaseInline = unfold.admin.TabularInline
    BasePaginator = Paginator

MOST_COUNTED = 2_500
"""Rows a list counts and pages through; nobody reads further, they search."""


class CappedPaginator(BasePaginator):
    """Counts up to a limit, so that a table of millions opens as fast as one of thousands."""

    @cached_property
    def count(self) -> int:
        """Rows in the list, at most `MOST_COUNTED`."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_COUNTED].count())  # whichever come first


ADDRESSES_ARE_HTTPS: Final[Any] = {models.URLField: {"assume_scheme": "https"}}
"""Where staff leaves the scheme out; for inlines, too: they do not take their parent's."""


STATES: Final = frozenset({"status", "payment_status"})
TONES: Final = {
    "good": {
        "confirmed",
        "delivered",
        "done",
        "enabled",
        "processed",
        "shipped",
        "succeeded",
        "won",
    },
    "bad": {"dead", "disputed", "failed", "lost", "needs_response", "quarantined", "suspended"},
    "wait": {"due", "pending", "processing", "received", "requested", "requires_action", "waiting"},
}
"""How a state looks in a list, where it is not plain."""


@functools.cache
def pill(field: str) -> Callable[[Any], SafeString]:
    """A column of a list that shows a state with its colour; its words say the same."""

    def shown(row: Any) -> SafeString:
        value = getattr(row, field)
        tone = next((tone for tone, states in TONES.items() if value in states), "plain")
        words = getattr(row, f"get_{field}_display")()
        return format_html('<span class="staff-pill staff-pill-{}">{}</span>', tone, words)

    shown.short_description = field.replace("_", " ")  # type: ignore[attr-defined]  # Django reads it
    return shown


class PlainAdmin(ModelAdmin):
    """A list without queries for what nobody asked; a row's history is its audit log."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_before_template = "staff/saved_views.html"
    list_disable_select_all = True
    actions: Any = ()
    formfield_overrides: ClassVar[Any] = ADDRESSES_ARE_HTTPS
    linked_lookups: ClassVar[Collection[str]] = ()
    """By what our own links narrow the list, besides its filters: `created_at__gte`."""

    def lookup_allowed(
        self,
        lookup: str,
        value: Any,  # noqa: ARG002 - Django's hook
        request: HttpRequest | None = None,
    ) -> bool:
        """Only what a filter or a link of ours asks for.

        Django allows every lookup on the model's own columns: whoever may open a list could find
        out what no page shows, a password's hash or a second factor's secret, bit by bit.
        """
        assert request is not None  # noqa: S101 - Django passes it since 5.0
        return lookup in self.linked_lookups or any(
            _asks_by(self.opts, chosen, lookup) for chosen in self.get_list_filter(request)
        )

    def get_list_display(self, request: HttpRequest) -> Any:
        return [
            pill(name) if name in STATES else name for name in super().get_list_display(request)
        ]

    def response_action(self, request: HttpRequest, queryset: Any, *where: Any) -> Any:
        """Do something to what was ticked, and no more: a list may be one of millions."""
        if request.POST.get("select_across", "0") != "0":
            self.message_user(request, "Tick the rows one by one.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *where)

    def history_view(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's hook
        object_id: str,
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002 - Django's hook
    ) -> HttpResponse:
        entity = urlencode(
            {"entity_type__exact": entity_type(self.model), "entity_id__exact": object_id}
        )
        return HttpResponseRedirect(f"{reverse('admin:audit_auditlog_changelist')}?{entity}")


def _asks_by(opts: Any, chosen: Any, lookup: str) -> bool:
    """Whether an entry of `list_filter` narrows its list by such a lookup."""
    if not isinstance(chosen, (str, tuple)):
        return bool(lookup == chosen.parameter_name)
    name = chosen if isinstance(chosen, str) else chosen[0]
    kind = lookup.removeprefix(name)
    if opts.get_field(name).is_relation:
        return kind in {"__id__exact", "__isnull"}
    return kind != lookup and (not kind or kind.startswith("__"))


class AmountsForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Refuses amounts that the row's currency cannot be paid in: baskets would stumble on them.

    The columns have two digits for every currency, so the database cannot.
    """

    amounts: Sequence[str] = ("amount",)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        currency = self.currency_of(cleaned)
        for name in self.amounts:
            if currency and cleaned.get(name) is not None:
                try:
                    money.exact(cleaned[name], currency)
                except (money.InvalidAmountError, money.UnsupportedCurrencyError) as exc:
                    self.add_error(name, f"Not payable: {exc}.")
        return cleaned

    def currency_of(self, cleaned: dict[str, Any]) -> str | None:
        """Of which currency the amounts are; None if they are none."""
        return cleaned.get("currency")


def url_of(model: str, pk: int | None, may: Callable[[str], bool]) -> str | None:
    """The page of a row of `app.model`, for whoever may open it."""
    app, name = model.split(".")
    if pk is None or not may(f"{app}.view_{name}"):
        return None
    return reverse(f"admin:{app}_{name}_change", args=(pk,))


def list_url_of(model: str, about: Mapping[str, Any], may: Callable[[str], bool]) -> str | None:
    """The list of `app.model`, narrowed by `about` (its page's `linked_lookups`); likewise."""
    app, name = model.split(".")
    if not may(f"{app}.view_{name}"):
        return None
    return f"{reverse(f'admin:{app}_{name}_changelist')}?{urlencode(about)}"


def entity_type(model: type[models.Model]) -> str:
    """What the audit log calls such a row: `shipping_method`."""
    return camel_case_to_spaces(model.__name__).replace(" ", "_")


class SearchByIndex(PlainAdmin):
    """A list of millions that is searched by `search_fields`, each a lookup that an index answers.

    Each field is looked up by itself and what is found is put together: an OR over joined tables
    would have the database read all of them.
    """

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text, lookups = search_term.strip(), self.get_search_fields(request)
        if not (text and lookups):
            return queryset, False
        if "@" in text:
            text = text.lower()  # as addresses are kept
        if len(lookups) == 1:  # then the list's own order may be the shorter way
            return self._looked_up(queryset, lookups[0], text), False
        rows = self.model._default_manager.order_by()  # noqa: SLF001 - Django's own name
        first, *others = (self._looked_up(rows, one, text).values("pk") for one in lookups)
        return queryset.filter(pk__in=first.union(*others)), False

    def _looked_up(self, rows: QuerySet[Any], lookup: str, text: str) -> QuerySet[Any]:
        try:
            return rows.filter(**{lookup: text})
        except (ValueError, ValidationError):  # cannot be a value of the column: it is in no row
            return rows.none()


class ReadOnlyAdmin(SearchByIndex):
    """For rows that only the code and the database may write: staff looks, and changes nothing.

    They are many: a list is in the order that an index has, and in no other.
    """

    sortable_by = ()

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's hook
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False


class TabularInline(BaseInline):
    """Rows in a table, each field of which has a name: a column's title is none to who hears it."""

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field:
            field.widget.attrs.setdefault("aria-label", field.label)
        return field


class ReadOnlyInline(TabularInline):
    """Rows that belong to the one on the page; to look at."""

    extra = 0
    can_delete = False
    show_change_link = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's hook
        return self.fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False
