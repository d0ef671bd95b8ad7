"""All routes. Probes (/healthz, /readyz, /metrics) are answered at the edge, `config.health`."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from config import docs

handler400 = "config.api.handler400"
handler403 = "config.api.handler403"
handler404 = "config.api.handler404"
handler500 = "config.api.handler500"

urlpatterns = [
    path("api/v1/", include("customers.api.urls")),
    path("api/v1/", include("inventory.api.urls")),
    path("api/v1/", include("orders.api.urls")),
    path("api/schema", docs.SchemaView.as_view(), name="schema"),
    path("api/docs", docs.docs_page, name="docs"),
    path("api/docs/start.js", docs.docs_script, name="docs-script"),
    path("_allauth/", include("allauth.headless.urls")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
]
