"""The admin's pages of exports, imports and the jobs that do them: `orders.services.jobs`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.widgets import UnfoldAdminFileFieldWidget

from audit.staff_actions import StaffForm, told
from config.kernel import request_context
from config.kernel.errors import DomainError, NotFoundError
from orders.errors import NotAllowedError
from orders.models import BackgroundJob
from orders.services import jobs
from orders.transfer.exports import EXPORTS, FILES, MOST_IDS, Selection
from orders.transfer.imports import IMPORTS, PERMISSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    View = Callable[..., HttpResponseBase]

EXPORTS_OF: Final = {
    "orders.order": ("orders", "order_lines"),
    "customers.customer": ("customers",),
    "inventory.product": ("products",),
    "inventory.category": ("categories",),
    "inventory.stocklevel": ("stock_levels",),
    "inventory.stockmovement": ("stock_movements",),
    "orders.coupon": ("coupons",),
    "payments.ledgerentry": ("ledger",),
}
"""Which exports a list offers."""
IMPORTS_OF: Final = {
    "inventory.product": "products",
    "inventory.price": "products",
    "inventory.category": "categories",
    "orders.coupon": "coupons",
}
LISTS: Final = {name: model for model, names in EXPORTS_OF.items() for name in names}
COLUMNS: Final = {
    "products": "sku, name, description, category (a slug), image_urls, image_alts, tax_class,"
    " weight_grams, is_active, attributes, and price_USD and the like",
    "categories": "slug, name, parent (a slug; empty at the root)",
    "coupons": "code, name, kind, value, currency, buy_quantity, get_quantity, minimum_subtotal,"
    " tier, starts_at, ends_at, max_uses, max_uses_per_customer, is_active",
}


class ExportForm(StaffForm):
    """In which format."""

    file_format = forms.ChoiceField(
        label="Format",
        choices=[("csv", "CSV: any number of rows"), ("xlsx", "XLSX: up to 1,048,575 rows")],
    )


class ImportForm(StaffForm):
    """Which file."""

    file = forms.FileField(
        label="File",
        help_text="CSV in UTF-8 or XLSX, the names of the columns in its first line; at most"
        f" {settings.MAX_UPLOAD_BYTES // 1024**2} MB.",
        # Its script stumbles over any other input of files.
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.xlsx"}),
    )


def urls(site: AdminSite) -> list[URLPattern]:
    """Their routes, below the admin's."""

    def page(route: str, view: View, name: str) -> URLPattern:
        return path(route, site.admin_view(_translated(functools.partial(view, site))), name=name)

    return [
        page("export/<slug:subject>/", export_view, "export"),
        page("import/<slug:subject>/", import_view, "import"),
        page("jobs/", jobs_view, "jobs"),
        page("jobs/<int:job_id>/", job_view, "job"),
        page("jobs/<int:job_id>/state/", state_view, "job_state"),
        page("jobs/<int:job_id>/confirm/", confirm_view, "job_confirm"),
        page("jobs/<int:job_id>/cancel/", cancel_view, "job_cancel"),
        page("jobs/<int:job_id>/download/", download_view, "job_download"),
    ]


def _translated(view: View) -> View:
    """What the services raise of rights and of what is not there, as Django has it."""

    def translated(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        request_context.set_user(user_id=request.user.pk)
        try:
            return view(request, **kwargs)
        except NotAllowedError as exc:
            raise PermissionDenied from exc
        except NotFoundError as exc:
            raise Http404 from exc

    return translated


def links_for(request: HttpRequest, model: str, query: str) -> list[dict[str, str]]:
    """The buttons above a list: what of it this person may export, as filtered now, and import."""
    may = request.user.has_perm
    links = [
        {
            "title": f"Export {EXPORTS[name].title}",
            "icon": "download",
            "url": reverse("admin:export", args=(name,)) + (f"?{query}" if query else ""),
        }
        for name in EXPORTS_OF.get(model, ())
        if may(EXPORTS[name].permission)
    ]
    wanted = IMPORTS_OF.get(model)
    if wanted and may(PERMISSIONS[wanted]):
        url = reverse("admin:import", args=(wanted,))
        links.append({"title": f"Import {wanted}", "icon": "upload_file", "url": url})
    return links


def export_view(site: AdminSite, request: HttpRequest, subject: str) -> HttpResponseBase:
    """Ask in which format; then have the rows of the list, as it is filtered, written to a file."""
    export = EXPORTS.get(subject)
    if export is None:
        raise NotFoundError
    if not request.user.has_perm(export.permission):
        raise PermissionDenied
    form = ExportForm(request.POST if request.method == "POST" else None)
    picked: str | None = None
    try:
        selection, picked = _selection(site, request, subject)
        if request.method == "POST" and form.is_valid():
            job = jobs.request_export(
                subject=subject,
                file_format=form.cleaned_data["file_format"],
                selection=selection,
                user=request.user,  # type: ignore[arg-type]  # staff: the site lets nobody else in
                request_key=str(form.cleaned_data["request_key"]),
            )
            return HttpResponseRedirect(reverse("admin:job", args=(job.pk,)))
    except (NotFoundError, NotAllowedError):
        raise
    except IncorrectLookupParameters:
        messages.error(request, "That filter is none of this list's: export from the list itself.")
        return HttpResponseRedirect(_list_url(LISTS[subject]))
    except DomainError as exc:
        messages.error(request, told(exc))
    leaves_out = export.personal and not request.user.has_perm("customers.export_customers")
    return _page(
        site,
        request,
        "staff/export.html",
        title=f"Export {export.title}",
        form=form,
        picked=picked,
        left_out=sorted(export.personal) if leaves_out else [],
        back_url=_list_url(LISTS[subject]),
    )


def _selection(site: AdminSite, request: HttpRequest, subject: str) -> tuple[Selection, str]:
    """The rows of the list as it was filtered, and in words which they are.

    What a person typed into the search is not kept: the rows that it finds are.
    """
    app_label, model_name = LISTS[subject].split(".")
    page: Any = next(
        one
        for model, one in site._registry.items()  # noqa: SLF001 - Django has no other way by name
        if (model._meta.app_label, model._meta.model_name) == (app_label, model_name)  # noqa: SLF001
    )
    shown = page.get_changelist_instance(request)
    filters = {
        name: value[-1] if isinstance(value, list) else value
        for name, value in shown.filter_params.items()
    }
    if not filters and not shown.query:
        return Selection(with_personal=True), "All of them."
    if not shown.query and set(filters) <= EXPORTS[subject].filters:
        return Selection(filters=filters, with_personal=True), "Those that the list's filters show."
    ids = list(shown.get_queryset(request).order_by().values_list("pk", flat=True)[: MOST_IDS + 1])
    if len(ids) <= MOST_IDS:
        words = f"The {len(ids):,} that the list shows now."
    else:
        words = f"More than {MOST_IDS:,}: narrow the search down, or export without it."
    return Selection(ids=ids, with_personal=True), words


def import_view(site: AdminSite, request: HttpRequest, subject: str) -> HttpResponseBase:
    """Take a file and have it previewed."""
    if subject not in IMPORTS:
        raise NotFoundError
    if not request.user.has_perm(PERMISSIONS[subject]):
        raise PermissionDenied
    is_sent = request.method == "POST"
    form = ImportForm(request.POST, request.FILES) if is_sent else ImportForm()
    if is_sent and form.is_valid():
        file = form.cleaned_data["file"]
        try:
            job = jobs.request_preview(
                subject=subject,
                file_name=file.name,
                content=file.chunks(),
                user=request.user,  # type: ignore[arg-type]  # likewise
                request_key=str(form.cleaned_data["request_key"]),
            )
        except (NotFoundError, NotAllowedError):
            raise
        except DomainError as exc:
            form.add_error("file", told(exc))
        else:
            return HttpResponseRedirect(reverse("admin:job", args=(job.pk,)))
    model = next(model for model, name in IMPORTS_OF.items() if name == subject)
    return _page(
        site,
        request,
        "staff/import.html",
        title=f"Import {subject}",
        form=form,
        columns=COLUMNS[subject],
        back_url=_list_url(model),
    )


def jobs_view(site: AdminSite, request: HttpRequest) -> HttpResponseBase:
    """This person's exports and imports of the last days."""
    mine = jobs.list_jobs(user=request.user)[:100]  # type: ignore[arg-type]  # likewise
    return _page(site, request, "staff/jobs.html", title="My jobs", jobs=mine)


def job_view(site: AdminSite, request: HttpRequest, job_id: int) -> HttpResponseBase:
    """One job: how far it is, and what came of it."""
    job = _job(request, job_id)
    return _page(site, request, "staff/job.html", **_told(request, job))


def state_view(site: AdminSite, request: HttpRequest, job_id: int) -> HttpResponseBase:  # noqa: ARG001 - one signature for all
    """The part of that page which changes; the page asks for it until the job is over."""
    return TemplateResponse(request, "staff/job_state.html", _told(request, _job(request, job_id)))


def confirm_view(site: AdminSite, request: HttpRequest, job_id: int) -> HttpResponseBase:  # noqa: ARG001 - likewise
    """Have a previewed file written."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        job_id = jobs.confirm_import(preview_id=job_id, user=request.user).pk  # type: ignore[arg-type]  # likewise
    except (NotFoundError, NotAllowedError):
        raise
    except DomainError as exc:
        messages.error(request, told(exc))
    return HttpResponseRedirect(reverse("admin:job", args=(job_id,)))


def cancel_view(site: AdminSite, request: HttpRequest, job_id: int) -> HttpResponseBase:  # noqa: ARG001 - likewise
    """Stop a job."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    try:
        jobs.cancel(job_id=job_id, user=request.user)  # type: ignore[arg-type]  # likewise
    except NotFoundError:
        raise
    except DomainError as exc:
        messages.error(request, told(exc))
    return HttpResponseRedirect(reverse("admin:job", args=(job_id,)))


def download_view(site: AdminSite, request: HttpRequest, job_id: int) -> HttpResponseBase:  # noqa: ARG001 - likewise
    """The file, piece by piece as it is read."""
    file = jobs.download(job_id=job_id, user=request.user)  # type: ignore[arg-type]  # likewise
    return StreamingHttpResponse(
        file.pieces,
        content_type=file.content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file.file_name}"',
            "Content-Length": str(file.size),
        },
    )


def _job(request: HttpRequest, job_id: int) -> BackgroundJob:
    return jobs.find_job(job_id=job_id, user=request.user)  # type: ignore[arg-type]  # likewise


def _told(request: HttpRequest, job: BackgroundJob) -> dict[str, Any]:
    applied = BackgroundJob.objects.filter(applies=job).first()
    is_preview = job.kind == BackgroundJob.Kind.PREVIEW
    is_done = job.status == BackgroundJob.Status.DONE
    result = job.result or {}
    return {
        "job": job,
        "title": _title(job),
        "result": result,
        "is_open": job.status in BackgroundJob.OPEN,
        "applied": applied,
        "may_confirm": is_preview
        and is_done
        and applied is None
        and not result.get("bad_lines")
        and job.owner_id == request.user.pk,
        "has_file": job.kind == BackgroundJob.Kind.EXPORT and is_done,
        "changes": [_change(change) for change in result.get("changes", ())],
        "changed": result.get("created", 0) + result.get("updated", 0) + result.get("prices", 0),
    }


def _change(change: dict[str, Any]) -> dict[str, Any]:
    before = change["before"]
    return {
        "key": change["key"],
        "is_new": before is None,
        "values": [
            (name, None if before is None else before.get(name), value)
            for name, value in change["after"].items()
        ],
    }


def _title(job: BackgroundJob) -> str:
    what = FILES[job.subject].title if job.kind == BackgroundJob.Kind.EXPORT else job.subject
    words = {"export": "Export of", "preview": "Preview of", "import": "Import of"}
    return f"{words[job.kind]} {what}"


def _list_url(model: str) -> str:
    return reverse(f"admin:{model.replace('.', '_')}_changelist")


def _page(site: AdminSite, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
    return TemplateResponse(request, template, {**site.each_context(request), **context})
