"""Serves the OpenAPI document and Swagger UI; everything the page loads comes from here."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, operation

if TYPE_CHECKING:
    from rest_framework.request import Request

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Orderkeep API</title>
    <link rel="stylesheet" href="{css}">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="{bundle}"></script>
    <script src="{script}"></script>
  </body>
</html>
"""
_SCRIPT = """"use strict";
SwaggerUIBundle({{
  url: "{schema}",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
}});
"""


_DOCUMENT = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"type": "string"},
        "info": {"type": "object"},
        "paths": {"type": "object"},
        "components": {"type": "object"},
    },
}
_SHORTENED = {
    "openapi": "3.1.1",
    "info": {"title": "Orderkeep", "version": "1"},
    "paths": {},
    "components": {},
}


class SchemaView(APIView):
    """The OpenAPI document, always in JSON."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @operation(
        summary="This document (OpenAPI 3.1)",
        description="Always in JSON.",
        access=Access.UNCHECKED,
        answers={
            200: Answer(
                body=_DOCUMENT,
                description="The document.",
                examples={"shortened": _SHORTENED},
                headers=["Cache-Control"],
            )
        },
        never=["SERVICE_UNAVAILABLE"],
        tags=["docs"],
        operation_id="get_schema",
    )
    def get(self, _request: Request) -> Response:
        """Always the same within a deployment, so it is made once a process."""
        return Response(_document(), headers={"Cache-Control": "public, max-age=300"})


@functools.cache
def _document() -> dict[str, Any]:
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    document: dict[str, Any] = generator.get_schema(request=None, public=True)
    return document


@csrf_exempt  # a POST is told 405 rather than that it lacks a token
@require_safe
def docs_page(_request: HttpRequest) -> HttpResponse:
    """Swagger UI; no inline script or style, so that the page's policy can forbid them."""
    page = _PAGE.format(
        css=static("drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css"),
        bundle=static("drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"),
        script=reverse("docs-script"),
    )
    return HttpResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})


@csrf_exempt  # a POST is told 405 rather than that it lacks a token
@require_safe
def docs_script(_request: HttpRequest) -> HttpResponse:
    """What starts the page."""
    script = _SCRIPT.format(schema=reverse("schema"))
    return HttpResponse(script, content_type="text/javascript; charset=utf-8")
