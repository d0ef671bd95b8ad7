"""Shows staff each letter as customers see it: in each language, made up or about an order.

The letter stands in a frame of its own, with a policy of its own: it may bring its looks along and
nothing else. The page around it keeps the admin's policy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from csp.decorators import csp
from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.clickjacking import xframe_options_sameorigin

from audit.staff_actions import dress
from config.kernel.languages import LANGUAGES
from integrations.email import content, samples
from orders.models import Order
from orders.models.correspondence import TOKEN

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, QueryDict
    from django.urls import URLPattern

    from integrations.email.content import Letter
    from integrations.email.reader import Reader

PERMISSION: Final = "orders.view_letter"
OF_AN_ORDER: Final = "orders.view_order"
LONGEST_NUMBER: Final = 50
POLICY: Final = {
    "default-src": ["'none'"],
    "style-src": ["'unsafe-inline'"],
    "base-uri": ["'none'"],
    "form-action": ["'none'"],
    "frame-ancestors": ["'self'"],
    "sandbox": [""],
}


class PreviewForm(forms.Form):
    """Which letter. `order` is None for a made-up one."""

    letter = forms.ChoiceField(
        choices=[
            (name, name.replace(".", " ").replace("_", " ").capitalize())
            for name in samples.LETTERS
        ]
    )
    language = forms.ChoiceField(choices=list(LANGUAGES.items()))
    order = forms.CharField(
        required=False,
        max_length=LONGEST_NUMBER,
        help_text="An order number, in full; without one the particulars are made up",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            dress(field.widget)

    def clean_order(self) -> Order | None:
        """The order with its customer at hand."""
        number = self.cleaned_data["order"].strip()
        if not number:
            return None
        order = Order.objects.select_related("customer").filter(order_number=number).first()
        if order is None:
            raise forms.ValidationError("There is no such order.")
        return order


def urls(site: AdminSite) -> list[URLPattern]:
    """Their routes, below the admin's."""

    def page(request: HttpRequest) -> HttpResponse:
        return preview_view(site, request)

    return [
        path("letters/preview/", site.admin_view(page), name="letter_preview"),
        path("letters/preview/frame/", site.admin_view(frame_view), name="letter_frame"),
    ]


def preview_view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """The letter to choose; below it, how it looks and what its text says."""
    asked = _asked(request)
    form = PreviewForm(asked)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "How letters look",
        "form": form,
    }
    if form.is_valid():
        letter, reader = _chosen(form)
        text, _ = content.written(letter, reader=reader)
        context |= {
            "letter": letter,
            "text": text,
            "reader": reader,
            "direction": reader.locale.text_direction,
            "frame": f"{reverse('admin:letter_frame')}?{asked.urlencode()}",
        }
    return TemplateResponse(request, "staff/letter_preview.html", context)


@xframe_options_sameorigin
@csp(POLICY)
def frame_view(request: HttpRequest) -> HttpResponse:
    """The letter's HTML, and nothing around it."""
    form = PreviewForm(_asked(request))
    if not form.is_valid():
        raise Http404
    letter, reader = _chosen(form)
    _, html = content.written(letter, reader=reader)
    return HttpResponse(html)


def _asked(request: HttpRequest) -> QueryDict:
    """Which letter, of somebody who may see it.

    Raises:
        PermissionDenied: they may not read letters, or not that order.
    """
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    asked = request.GET.copy()
    asked.setdefault("letter", samples.LETTERS[0])
    asked.setdefault("language", next(iter(LANGUAGES)))
    if asked.get("order") and not request.user.has_perm(OF_AN_ORDER):
        raise PermissionDenied
    return asked


def _chosen(form: PreviewForm) -> tuple[Letter, Reader]:
    name, order = form.cleaned_data["letter"], form.cleaned_data["order"]
    reader = samples.reader_of(form.cleaned_data["language"], order=order)
    occasion = samples.of_order(order, name=name) if order else None
    letter = samples.compose(name, reader=reader, occasion=occasion)
    # A guest's link opens the order: it is for the guest alone.
    return replace(letter, link=TOKEN.sub("…", letter.link)), reader
