"""Routes of marketing, under /api/v1/."""

from django.urls import path

from integrations.marketing.api import views

urlpatterns = [
    path(
        "unsubscribe/<str:unsubscribe_token>", views.UnsubscribeView.as_view(), name="unsubscribe"
    ),
    path("webhooks/marketing", views.MarketingWebhookView.as_view(), name="marketing-webhook"),
]
