"""Routes for carriers and warehouses, under /api/v1/."""

from django.urls import path

from integrations.fulfilment.api import views

urlpatterns = [
    path("feeds/stock", views.StockFeedView.as_view(), name="stock-feed"),
    path(
        "webhooks/tracking/generic",
        views.GenericTrackingView.as_view(),
        name="tracking-generic",
    ),
    path(
        "webhooks/tracking/easypost",
        views.EasyPostTrackingView.as_view(),
        name="tracking-easypost",
    ),
]
