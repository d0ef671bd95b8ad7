"""Routes of those outside who call us, under /api/v1/."""

from django.urls import path

from integrations.email.webhooks import EmailEventsView

urlpatterns = [
    path("webhooks/email/<str:provider>", EmailEventsView.as_view(), name="email-webhook"),
]
