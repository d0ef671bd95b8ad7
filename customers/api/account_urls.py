"""Routes under /_allauth/app/v1/ that stand before allauth's own."""

from allauth.headless.constants import Client
from django.urls import path

from customers.api import account_views as views

MFA = "account/authenticators"

urlpatterns = [
    path("auth/password/request", views.PasswordResetView.as_api_view(client=Client.APP)),
    path("auth/2fa/authenticate", views.MfaAuthenticateView.as_api_view(client=Client.APP)),
    path("account/password/change", views.PasswordChangeView.as_api_view(client=Client.APP)),
    path(f"{MFA}/totp", views.TotpView.as_api_view(client=Client.APP)),
    path(f"{MFA}/recovery-codes", views.RecoveryCodesView.as_api_view(client=Client.APP)),
    path("auth/2fa/reauthenticate", views.MfaReauthenticateView.as_api_view(client=Client.APP)),
]
