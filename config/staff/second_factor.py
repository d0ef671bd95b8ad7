"""The door of the admin: password, code, and nobody inside without both.

`SecondFactorSite` is mixed into the site; every page of the admin asks its `has_permission`.
"""

from __future__ import annotations

import functools
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.totp.forms import ActivateTOTPForm
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import REDIRECT_FIELD_NAME, update_session_auth_hash
from django.contrib.auth import views as auth
from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AdminOwnPasswordChangeForm
from unfold.widgets import INPUT_CLASSES

from config.kernel import request_context
from config.kernel.errors import InvalidTransitionError
from customers import selectors, services, staff_log_in, throttling
from customers.code_forms import AppCodeForm, CodeForm

if TYPE_CHECKING:
    from django import forms
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase
    from django.urls import URLPattern

    from customers.models import Customer


class PasswordStep(auth.LoginView):
    """The first step. Whoever was right about the password is asked for the second factor."""

    def form_valid(self, form: Any) -> HttpResponse:
        customer = form.get_user()
        staff_log_in.begin(
            self.request, customer, next_url=self.get_success_url(), now=timezone.now()
        )
        return HttpResponseRedirect(_second_step(customer))


class OwnPasswordChange(auth.PasswordChangeView):
    """Another password: counted like in the shop, told to its owner; all other sessions end."""

    form_class = AdminOwnPasswordChangeForm

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        throttling.admit("password_change")
        self.attempt = throttling.admit("password_change", identity=str(request.user.pk))
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: Any) -> HttpResponse:
        if form.has_error("old_password", "password_incorrect"):
            services.note_wrong_password(customer_id=_staff_id(self.request))
        else:
            self.attempt.give_back()
        return super().form_invalid(form)

    def form_valid(self, form: Any) -> HttpResponse:
        self.attempt.give_back()
        services.change_password(
            customer_id=_staff_id(self.request),
            password=form.cleaned_data["new_password1"],
            session_key=self.request.session.session_key,
        )
        customer: Any = self.request.user
        customer.refresh_from_db(fields=["password"])
        update_session_auth_hash(self.request, customer)
        return HttpResponseRedirect(str(self.success_url))


class SecondFactorSite(AdminSite):
    """What makes a session one of staff, and when it ends: `customers.staff_log_in`."""

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether this session may open the admin: staff, by both factors, not too long ago."""
        return super().has_permission(request) and staff_log_in.is_live(request, now=timezone.now())

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        guarded = super().admin_view(view, cacheable)

        @functools.wraps(guarded)
        def watched(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.user.is_authenticated:
                request_context.set_user(user_id=request.user.pk)
            staff_log_in.note_presence(request, now=timezone.now())
            answer: HttpResponseBase = guarded(request, *args, **kwargs)
            return answer

        return watched

    def get_urls(self) -> list[URLPattern]:  # type: ignore[override]  # wider in Django's
        return [
            path("login/code/", self.code_view, name="login_code"),
            path("login/set-up/", self.set_up_view, name="login_set_up"),
            path("sessions/", self.admin_view(self.sessions_view), name="sessions"),
            path("recovery-codes/", self.admin_view(self.codes_view), name="recovery_codes"),
            *super().get_urls(),
        ]

    @method_decorator(never_cache)
    @login_not_required
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """As Django's, but the right password leads to the second step."""
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        context = {
            **self.each_context(request),
            "title": "Log in",
            "app_path": request.get_full_path(),
            **(extra_context or {}),
        }
        if REDIRECT_FIELD_NAME not in {*request.GET, *request.POST}:
            context[REDIRECT_FIELD_NAME] = reverse("admin:index")
        request.current_app = self.name
        view = PasswordStep.as_view(
            extra_context=context,
            authentication_form=self.login_form or AdminAuthenticationForm,
            template_name=self.login_template or "admin/login.html",
        )
        return view(request)  # type: ignore[return-value]  # a page

    @method_decorator([never_cache, csrf_protect, sensitive_post_parameters("code")])
    @login_not_required
    def code_view(self, request: HttpRequest) -> HttpResponse:
        """The second step: a code of the authenticator app, or a recovery code."""
        found = staff_log_in.half_way(request, now=timezone.now())
        if found is None:
            return _from_the_beginning()
        customer = found.customer
        if not staff_log_in.has_authenticator(customer):
            return HttpResponseRedirect(_second_step(customer))
        form = _dressed(CodeForm(_posted(request), user=customer))
        if request.method == "POST":
            attempt = throttling.admit("mfa", identity=str(customer.pk))
            if form.is_valid():
                attempt.give_back()
                staff_log_in.enter(request, form.authenticator, now=timezone.now())
                return HttpResponseRedirect(found.next_url)
            services.note_wrong_code(customer_id=customer.pk)
        return self._door(request, "staff/login_code.html", "One more step", form=form)

    @method_decorator([never_cache, csrf_protect, sensitive_post_parameters("code")])
    @login_not_required
    def set_up_view(self, request: HttpRequest) -> HttpResponse:
        """The second step of who has no authenticator app yet: a QR code, and its first code."""
        found = staff_log_in.half_way(request, now=timezone.now())
        if found is None:
            return _from_the_beginning()
        customer = found.customer
        if staff_log_in.has_authenticator(customer):
            return HttpResponseRedirect(_second_step(customer))
        form = _dressed(ActivateTOTPForm(_posted(request), user=customer))
        if request.method == "POST":
            attempt = throttling.admit("mfa", identity=str(customer.pk))
            if form.is_valid():
                attempt.give_back()
                codes = staff_log_in.set_up(
                    request,
                    customer,
                    code=form.cleaned_data["code"],
                    secret=form.secret,
                    now=timezone.now(),
                )
                if codes is None:
                    return HttpResponseRedirect(_second_step(customer))
                return self._door(
                    request,
                    "staff/recovery_codes.html",
                    "Keep these codes",
                    codes=codes,
                    next_url=found.next_url,
                )
            services.note_wrong_code(customer_id=customer.pk)
        return self._door(
            request,
            "staff/login_set_up.html",
            "Set up a second factor",
            form=form,
            secret=form.secret,
            qr_code=_qr_code(customer, form.secret),
        )

    def sessions_view(self, request: HttpRequest) -> HttpResponse:
        """Where one is logged in, and the way to be logged in nowhere else."""
        here = request.session.session_key
        customer_id = _staff_id(request)
        if request.method == "POST":
            ended = services.end_other_sessions(customer_id=customer_id, session_key=here)
            messages.success(request, f"{ended} other sessions ended.")
            return HttpResponseRedirect(reverse("admin:sessions"))
        sessions = selectors.list_staff_sessions(customer_id=customer_id, now=timezone.now())
        context = {
            **self.each_context(request),
            "title": "Where I am logged in",
            "sessions": [(one.staff_since, one.session_key == here) for one in sessions],
        }
        return TemplateResponse(request, "staff/sessions.html", context)

    @method_decorator(sensitive_post_parameters("code"))
    def codes_view(self, request: HttpRequest) -> HttpResponse:
        """Ten new recovery codes for who has used or lost theirs, once the app is proven again.

        A session left open is not enough: whoever finds it would have a way in of their own.
        """
        customer_id = _staff_id(request)
        form = _dressed(AppCodeForm(_posted(request), customer_id=customer_id))
        codes: list[str] = []
        if request.method == "POST":
            attempt = throttling.admit("mfa", identity=str(customer_id))
            if form.is_valid():
                attempt.give_back()
                try:
                    codes = staff_log_in.renew_recovery_codes(customer_id=customer_id)
                except InvalidTransitionError as exc:
                    form.add_error(None, exc.message)
            else:
                services.note_wrong_code(customer_id=customer_id)
        context = {
            **self.each_context(request),
            "title": "Keep these codes" if codes else "New recovery codes",
            "form": form,
            "codes": codes,
        }
        return TemplateResponse(request, "staff/new_recovery_codes.html", context)

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        request.current_app = self.name
        view = OwnPasswordChange.as_view(
            success_url=reverse("admin:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)

    def _door(
        self, request: HttpRequest, template: str, title: str, **context: Any
    ) -> HttpResponse:
        """A page in front of the door: nothing of the admin stands on it."""
        return TemplateResponse(
            request, template, {**self.each_context(request), "title": title, **context}
        )


def _second_step(customer: Customer) -> str:
    has_one = staff_log_in.has_authenticator(customer)
    return reverse("admin:login_code" if has_one else "admin:login_set_up")


def _from_the_beginning() -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:login"))


def _posted(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None


def _dressed(form: Any) -> Any:
    """Give allauth's form unfold's looks; a code is typed, not remembered."""
    field: forms.Field = form.fields["code"]
    field.widget.attrs.update(
        {"class": " ".join(INPUT_CLASSES), "autofocus": True, "spellcheck": "false"}
    )
    return form


def _qr_code(customer: Customer, secret: str) -> str:
    """As a `data:` image: the policy lets no markup of its own style itself."""
    adapter = get_adapter()
    svg: str = adapter.build_totp_svg(adapter.build_totp_url(customer, secret))
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def _staff_id(request: HttpRequest) -> int:
    """Who is asking: the site lets nobody else in."""
    assert request.user.pk is not None  # noqa: S101 - see above
    return request.user.pk
