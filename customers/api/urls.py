"""Routes of this app under /api/v1; /me itself is with those of the orders."""

from django.urls import path

from customers.api import views

urlpatterns = [
    path("me/addresses", views.AddressListView.as_view()),
    path("me/addresses/<str:address_id>", views.AddressView.as_view()),
]
