"""Routes of allauth that this shop answers itself, or adds something to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from allauth.account.adapter import get_adapter
from allauth.headless.account import views as account
from allauth.headless.account.response import RequestPasswordResponse
from allauth.headless.base.views import APIView
from allauth.headless.internal.restkit import inputs
from allauth.headless.mfa import views as mfa
from allauth.headless.mfa.inputs import AuthenticateInput, ReauthenticateInput

from customers import codes, mail, services, throttling
from customers.code_forms import GoodOnce

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.http.response import HttpResponseBase


class PasswordResetInput(inputs.Input):  # type: ignore[misc]  # allauth has no types
    """Whose password; whether there is such an account is nobody's business."""

    email = inputs.EmailField()

    def clean_email(self) -> str:
        """In lower case, as accounts keep it."""
        email: str = get_adapter().clean_email(self.cleaned_data["email"].lower())
        return email


class PasswordResetView(APIView):  # type: ignore[misc]
    """`POST /auth/password/request`: the same answer, work and time for every address."""

    input_class = PasswordResetInput

    def post(self, request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
        email = self.input.cleaned_data["email"]
        throttling.admit("reset_address")
        throttling.admit("reset", identity=email)
        services.request_password_reset(email=email)
        answer: HttpResponse = RequestPasswordResponse(request)
        return answer


class CountsTries(APIView):  # type: ignore[misc]
    """A secret may be tried so often a customer, wherever they are: `ACCOUNT_LIMITS[limit]`."""

    limit: str

    def handle_input(self, data: Any) -> HttpResponseBase | None:
        """Count the try before it is looked at."""
        customer_id = self.get_input_kwargs()["user"].pk
        self.attempt = throttling.admit(self.limit, identity=str(customer_id))
        refusal: HttpResponseBase | None = super().handle_input(data)
        return refusal

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """It was right."""
        self.attempt.give_back()
        answer: HttpResponse = super().post(request, *args, **kwargs)
        return answer


class MfaAuthenticateInput(GoodOnce, AuthenticateInput):  # type: ignore[misc]
    """A code, good once."""


class MfaReauthenticateInput(GoodOnce, ReauthenticateInput):  # type: ignore[misc]
    """Likewise."""


class MfaAuthenticateView(CountsTries, mfa.AuthenticateView):  # type: ignore[misc]
    """`POST /auth/2fa/authenticate`: a code has six digits, so wrong ones are few."""

    input_class = MfaAuthenticateInput
    limit = "mfa"


class MfaReauthenticateView(CountsTries, mfa.ReauthenticateView):  # type: ignore[misc]
    """`POST /auth/2fa/reauthenticate`: likewise."""

    input_class = MfaReauthenticateInput
    limit = "mfa"


class PasswordChangeView(CountsTries, account.ChangePasswordView):  # type: ignore[misc]
    """`POST /account/password/change`: who holds a token may not guess the password with it."""

    limit = "password_change"

    def handle_invalid_input(self, form: inputs.Input) -> HttpResponseBase:
        """A wrong password is a failed log-in, wherever it was typed."""
        if form.has_error("current_password", "enter_current_password"):
            services.note_wrong_password(customer_id=_customer_id(self.request))
        refusal: HttpResponseBase = super().handle_invalid_input(form)
        return refusal


class TotpView(mfa.ManageTOTPView):  # type: ignore[misc]
    """`/account/authenticators/totp`: a change is audited, and told to the account's owner."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        answer: HttpResponse = super().post(request, *args, **kwargs)
        customer_id = _customer_id(request)
        codes.prove_app(customer_id=customer_id, code=self.input.cleaned_data["code"])
        services.note_second_factor(customer_id=customer_id, fact=mail.MFA_ACTIVATED)
        return answer

    def delete(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        was_there = self._get_authenticator() is not None
        answer: HttpResponse = super().delete(request, *args, **kwargs)
        if was_there:
            services.note_second_factor(
                customer_id=_customer_id(request), fact=mail.MFA_DEACTIVATED
            )
            services.end_staff_sessions(customer_id=_customer_id(request))
        return answer


class RecoveryCodesView(mfa.ManageRecoveryCodesView):  # type: ignore[misc]
    """`/account/authenticators/recovery-codes`: likewise."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        answer: HttpResponse = super().post(request, *args, **kwargs)
        services.note_second_factor(
            customer_id=_customer_id(request), fact=mail.RECOVERY_CODES_MADE
        )
        return answer


def _customer_id(request: HttpRequest) -> int:
    return cast("int", request.user.pk)
