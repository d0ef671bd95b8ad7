"""All routes. Probes (/healthz, /readyz, /metrics) are answered at the edge, `config.health`."""

from typing import NoReturn

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from config import docs, storefront

handler400 = "config.api.handler400"
handler403 = "config.api.handler403"
handler404 = "config.api.handler404"
handler500 = "config.api.handler500"


@csrf_exempt
def no_such_route(_request: HttpRequest) -> NoReturn:
    """What a library offers and this shop does not."""
    raise Http404


urlpatterns = [
    path("api/v1/", include("customers.api.urls")),
    path("api/v1/", include("inventory.api.urls")),
    path("api/v1/", include("orders.api.urls")),
    path("api/v1/", include("integrations.urls")),
    path("api/schema", docs.SchemaView.as_view(), name="schema"),
    path("api/docs", docs.docs_page, name="docs"),
    path("api/docs/start.js", docs.docs_script, name="docs-script"),
    # allauth would keep a second telephone number; a customer's is in /api/v1/me.
    path("_allauth/app/v1/account/phone", no_such_route),
    path("_allauth/app/v1/", include("customers.api.account_urls")),
    path("_allauth/", include("allauth.headless.urls")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    *storefront.routes(),
]
