"""Routes of customer service, under /api/v1/."""

from django.urls import path

from integrations.support.api import views

urlpatterns = [
    path("support/context", views.SupportContextView.as_view(), name="support-context"),
]
