"""Routes of the catalogue, under /api/v1/."""

from django.urls import path

from inventory.api import views

urlpatterns = [
    path("categories", views.CategoryListView.as_view(), name="categories"),
    path("products", views.ProductListView.as_view(), name="products"),
    path("products/<str:sku>", views.ProductView.as_view(), name="product"),
]
