"""Routes of this app under /api/v1."""

from django.urls import path

from customers.api import views

urlpatterns = [
    path("me", views.MeView.as_view()),
    path("me/addresses", views.AddressListView.as_view()),
    path("me/addresses/<str:address_id>", views.AddressView.as_view()),
]
