"""Routes of those outside, under /api/v1/: who calls us, and what their customers follow."""

from django.urls import include, path

from integrations.email.webhooks import EmailEventsView

urlpatterns = [
    path("webhooks/email/<str:provider>", EmailEventsView.as_view(), name="email-webhook"),
    path("", include("integrations.fulfilment.api.urls")),
    path("", include("integrations.marketing.api.urls")),
    path("", include("integrations.support.api.urls")),
]
