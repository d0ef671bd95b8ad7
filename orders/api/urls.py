"""Routes of quotes and orders, under /api/v1/."""

from django.urls import path

from orders.api import views, webhooks

urlpatterns = [
    path("quotes", views.QuoteView.as_view(), name="quotes"),
    path("orders", views.OrderListView.as_view(), name="orders"),
    path("orders/<str:order_number>", views.OrderView.as_view(), name="order"),
    path(
        "orders/<str:order_number>/confirm", views.OrderConfirmView.as_view(), name="order-confirm"
    ),
    path("orders/<str:order_number>/claim", views.OrderClaimView.as_view(), name="order-claim"),
    path("orders/<str:order_number>/cancel", views.OrderCancelView.as_view(), name="order-cancel"),
    path("webhooks/stripe", webhooks.StripeWebhookView.as_view(), name="stripe-webhook"),
]
