"""Pages of the admin that belong to no single row: stock by file, and the sheets to count with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.text import slugify
from unfold.widgets import UnfoldAdminFileFieldWidget

from audit.staff_actions import TRY_AGAIN, StaffForm
from config.kernel import request_context
from config.kernel.db import WENT_AWAY
from config.kernel.errors import DomainError
from inventory import stock_files
from inventory.errors import UnusableFileError
from inventory.models import StockDocument, StockMovement, Warehouse

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest
    from django.urls import URLPattern

    from inventory.stock_files import Preview

PERMISSIONS: Final = {
    StockMovement.Kind.RECEIVE: "inventory.receive_stock",
    StockMovement.Kind.ADJUST: "inventory.adjust_stock",
    StockMovement.Kind.COUNT: "inventory.count_stock",
}
MOST_SHOWN: Final = 500
"""Lines of a preview; what is wrong with a file is shown whole."""


class StockFileForm(StaffForm):
    """A file that was chosen, or the text of one that was previewed."""

    file = forms.FileField(
        label="CSV file",
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv"}),
    )
    text = forms.CharField(widget=forms.HiddenInput, required=False, strip=False)
    seen = forms.JSONField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        max_length=200, help_text="Of the whole file; each line has its own besides."
    )

    field_order = ("file", "reason")

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if file := cleaned.get("file"):
            try:
                cleaned["text"] = file.read().decode("utf-8-sig")
            except UnicodeDecodeError as exc:
                self.add_error("file", f"The file is not UTF-8 (byte {exc.start}). Save it so.")
        elif not cleaned.get("text"):
            self.add_error("file", "Choose a file.")
        return cleaned

    def clean_seen(self) -> dict[int, int]:
        """What the preview found, by line. Who tampers with it fools themselves alone."""
        seen = self.cleaned_data.get("seen") or {}
        try:
            return {int(line): int(on_hand) for line, on_hand in seen.items()}
        except (AttributeError, TypeError, ValueError):
            raise forms.ValidationError("Choose the file again.") from None


class StockFilePages:
    """Stock by file: choose it, see what it would do, do it. Beside the list of stock levels."""

    def __init__(self, page: ModelAdmin[Any]) -> None:
        self.page = page
        self.site = page.admin_site

    def urls(self) -> list[URLPattern]:
        """The routes, to stand before those of the list."""
        return [
            path("file/", self.site.admin_view(self.file_view), name="inventory_stocklevel_file"),
            path(
                "count-sheet/<int:warehouse_id>/<int:number>/",
                self.site.admin_view(self.sheet_view),
                name="inventory_stocklevel_sheet",
            ),
        ]

    def file_view(self, request: HttpRequest) -> HttpResponse:
        """The file to choose by GET; what it would do, and then the deed, by POST."""
        if not self.page.has_view_permission(request):
            raise PermissionDenied
        if not any(request.user.has_perm(permission) for permission in PERMISSIONS.values()):
            raise PermissionDenied
        if request.method != "POST":
            return self._show(request, StockFileForm())
        form = StockFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return self._show(request, form)
        try:
            preview = stock_files.preview_file(text=form.cleaned_data["text"])
        except UnusableFileError as exc:
            form.add_error("file", f"This file cannot be used: {exc}.")
            return self._show(request, form)
        if any(not request.user.has_perm(PERMISSIONS[kind]) for kind in preview.kinds):
            raise PermissionDenied
        if "apply" not in request.POST:
            return self._show(request, form, preview)
        return self._apply(request, form, preview)

    def sheet_view(self, request: HttpRequest, warehouse_id: int, number: int) -> HttpResponse:
        """What is in a building with what is expected, to be counted and sent as a file."""
        if not (
            self.page.has_view_permission(request)
            and request.user.has_perm("inventory.count_stock")
        ):
            raise PermissionDenied
        warehouse = get_object_or_404(Warehouse, pk=warehouse_id)
        if not 1 <= number <= dict(stock_files.count_sheets())[warehouse]:
            raise Http404
        sheet = HttpResponse(content_type="text/csv; charset=utf-8")
        name = f"count-{slugify(warehouse.code) or warehouse.pk}-{number}.csv"
        sheet["Content-Disposition"] = f'attachment; filename="{name}"'
        stock_files.write_count_sheet(sheet, warehouse=warehouse, sheet=number)
        return sheet

    def _apply(self, request: HttpRequest, form: StockFileForm, preview: Preview) -> HttpResponse:
        request_context.set_user(user_id=request.user.pk)
        try:
            document = stock_files.apply_file(
                text=form.cleaned_data["text"],
                reason=form.cleaned_data["reason"],
                seen=form.cleaned_data["seen"],
                user_id=request.user.pk,
                request_key=str(form.cleaned_data["request_key"]),
            )
        except DomainError as exc:
            # Not to be applied as it is: what stands there now, nobody has counted by.
            form.add_error(None, f"Nothing was changed. {exc.message}")
            return self._show(request, form, preview, may_apply=False)
        except WENT_AWAY:
            form.add_error(None, TRY_AGAIN)
            return self._show(request, form, preview, seen=form.cleaned_data["seen"])
        self.page.message_user(request, f"{len(preview.changes)} lines applied.", messages.SUCCESS)
        return HttpResponseRedirect(self._page_of(document))

    def _page_of(self, document: StockDocument) -> str:
        return reverse("admin:inventory_stockdocument_change", args=(document.pk,))

    def _show(
        self,
        request: HttpRequest,
        form: StockFileForm,
        preview: Preview | None = None,
        *,
        may_apply: bool = True,
        seen: dict[int, int] | None = None,
    ) -> HttpResponse:
        """The page. `seen` is what the person was shown before, if the same is to be sent again."""
        may_count = request.user.has_perm("inventory.count_stock")
        context = {
            **self.site.each_context(request),
            "title": "Stock by file",
            "opts": self.page.opts,
            "form": form,
            "columns": stock_files.COLUMNS,
            "modes": stock_files.MODES,
            "most_lines": stock_files.MOST_LINES,
            "preview": preview,
            "shown": preview.changes[:MOST_SHOWN] if preview else [],
            "text": form.cleaned_data["text"] if preview else "",
            "seen": json.dumps(preview.seen if seen is None else seen) if preview else "",
            "may_apply": may_apply and preview is not None and not preview.problems,
            "sheets": _count_sheets() if may_count else [],
            "file_url": reverse("admin:inventory_stocklevel_file"),
        }
        return TemplateResponse(request, "inventory/staff/stock_file.html", context)


def _count_sheets() -> list[tuple[Warehouse, int, str]]:
    """Each sheet to count with: of which building, its number, and what it is called."""
    found = []
    for warehouse, most in stock_files.count_sheets():
        for number in range(1, most + 1):
            name = warehouse.code if most == 1 else f"{warehouse.code}, {number} of {most}"
            found.append((warehouse, number, name))
    return found
