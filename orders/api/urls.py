"""Routes of quotes and orders, under /api/v1/."""

from django.urls import path

from orders.api import (
    after_sales,
    carts,
    payment_links,
    payment_methods,
    privacy,
    stock_alerts,
    views,
    webhooks,
)

urlpatterns = [
    path("me", privacy.MeView.as_view(), name="me"),
    path("me/export", privacy.ExportView.as_view(), name="export"),
    path(
        "me/payment-methods", payment_methods.PaymentMethodsView.as_view(), name="payment-methods"
    ),
    path(
        "me/payment-methods/<str:payment_method_id>",
        payment_methods.PaymentMethodView.as_view(),
        name="payment-method",
    ),
    path("quotes", views.QuoteView.as_view(), name="quotes"),
    path("carts", carts.CartsView.as_view(), name="carts"),
    path("carts/<str:cart_id>", carts.CartView.as_view(), name="cart"),
    path("carts/<str:cart_id>/coupon", carts.CartCouponView.as_view(), name="cart-coupon"),
    path("carts/<str:cart_id>/items/<str:sku>", carts.CartItemView.as_view(), name="cart-item"),
    path(
        "payment-links/<str:payment_link_id>",
        payment_links.PaymentLinkView.as_view(),
        name="payment-link",
    ),
    path(
        "products/<str:sku>/stock-alerts",
        stock_alerts.StockAlertView.as_view(),
        name="stock-alerts",
    ),
    path("orders", views.OrderListView.as_view(), name="orders"),
    path("orders/<str:order_number>", views.OrderView.as_view(), name="order"),
    path(
        "orders/<str:order_number>/confirm", views.OrderConfirmView.as_view(), name="order-confirm"
    ),
    path("orders/<str:order_number>/claim", views.OrderClaimView.as_view(), name="order-claim"),
    path("orders/<str:order_number>/cancel", views.OrderCancelView.as_view(), name="order-cancel"),
    path("orders/<str:order_number>/reorder", carts.OrderAgainView.as_view(), name="order-again"),
    path("orders/<str:order_number>/returns", after_sales.ReturnListView.as_view(), name="returns"),
    path(
        "orders/<str:order_number>/returns/<str:return_id>",
        after_sales.ReturnView.as_view(),
        name="return",
    ),
    path("orders/<str:order_number>/timeline", after_sales.TimelineView.as_view(), name="timeline"),
    path("orders/<str:order_number>/invoice", after_sales.InvoiceView.as_view(), name="invoice"),
    path(
        "orders/<str:order_number>/documents",
        after_sales.DocumentListView.as_view(),
        name="documents",
    ),
    path(
        "orders/<str:order_number>/documents/<str:document_number>",
        after_sales.DocumentView.as_view(),
        name="document",
    ),
    path("webhooks/stripe", webhooks.StripeWebhookView.as_view(), name="stripe-webhook"),
]
