"""Describes what no API view answers: the probes, which the edge answers, and Swagger UI."""

from __future__ import annotations

from typing import Any, Final

from config.openapi.headers import ANY_PARAMETERS, headers
from config.openapi.operations import OF_EVERY_PATH, error_responses

METRICS_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "`METRICS_TOKEN` of the environment. Where it is unset, 127.0.0.1 alone is"
    " answered, and needs none.",
}

_CHECKS: Final = {
    "type": "object",
    "required": ["database", "migrations", "cache", "broker"],
    "additionalProperties": False,
    "properties": {
        "database": {"type": "string", "enum": ["ok", "unreachable"]},
        "migrations": {"type": "string", "enum": ["ok", "missing", "unknown"]},
        "cache": {"type": "string", "enum": ["ok", "unreachable"]},
        "broker": {"type": "string", "enum": ["ok", "unreachable"]},
    },
}
_ALL_WELL: Final = {"database": "ok", "migrations": "ok", "cache": "ok", "broker": "ok"}
_ONLY_READ: Final = {
    "description": "Anything but GET and HEAD; without a body.",
    "headers": headers(["Allow"]),
}


def _status(word: str, **more: Any) -> dict[str, Any]:
    """A JSON object with this `status`, and more of which all is required."""
    properties = {"status": {"type": "string", "const": word}, **more}
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def _answer(
    description: str,
    *,
    example: Any,
    schema: dict[str, Any] | None = None,
    media_type: str = "application/json",
    carries: tuple[str, ...] = (),
) -> dict[str, Any]:
    return {
        "description": description,
        "headers": headers(carries),
        "content": {
            media_type: {
                "schema": schema or {"type": "string"},
                "examples": {"shown": {"value": example}},
            }
        },
    }


def _get(
    operation_id: str,
    summary: str,
    responses: dict[str, Any],
    *,
    tag: str,
    security: list[dict[str, list[str]]] | None = None,
) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": [tag],
            "security": security or [{}],
            "parameters": ANY_PARAMETERS,
            "responses": responses,
        }
    }


PAGES: Final = {
    "/healthz": _get(
        "get_healthz",
        "The process is up",
        {
            "200": _answer("It is.", schema=_status("ok"), example={"status": "ok"}),
            "405": _ONLY_READ,
        },
        tag="health",
    ),
    "/readyz": _get(
        "get_readyz",
        "Ready to take orders",
        {
            "200": _answer(
                "All parts answer.",
                schema=_status("ready", checks=_CHECKS),
                example={"status": "ready", "checks": _ALL_WELL},
            ),
            "405": _ONLY_READ,
            "503": _answer(
                "`failing` names the parts that do not answer.",
                schema=_status(
                    "unavailable",
                    failing={
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "enum": [*_ALL_WELL]},
                    },
                    checks=_CHECKS,
                ),
                example={
                    "status": "unavailable",
                    "failing": ["cache"],
                    "checks": {**_ALL_WELL, "cache": "unreachable"},
                },
                carries=("Retry-After",),
            ),
        },
        tag="health",
    ),
    "/metrics": _get(
        "get_metrics",
        "Prometheus text",
        {
            "200": _answer(
                "Counters and histograms.",
                media_type="text/plain",
                example="# HELP http_requests_total Requests answered\n"
                "# TYPE http_requests_total counter\n"
                'http_requests_total{method="GET",route="/api/v1/orders",status="200"} 7.0\n',
            ),
            "403": _answer(
                "Without the token, or where there is none not from 127.0.0.1.",
                schema=_status("forbidden"),
                example={"status": "forbidden"},
            ),
            "405": _ONLY_READ,
        },
        tag="health",
        security=[{"metricsToken": []}, {}],
    ),
    "/api/docs": _get(
        "get_docs",
        "This document as a page (Swagger UI)",
        {
            "200": _answer(
                "The page; everything it loads comes from here.",
                media_type="text/html",
                example='<!doctype html>\n<html lang="en">…</html>\n',
            ),
            **error_responses(OF_EVERY_PATH),
        },
        tag="docs",
    ),
    "/api/docs/start.js": _get(
        "get_docs_script",
        "What starts the page",
        {
            "200": _answer("A script.", media_type="text/javascript", example='"use strict";\n…\n'),
            **error_responses(OF_EVERY_PATH),
        },
        tag="docs",
    ),
}


def add_pages(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Post-processing hook: the routes that are no API views."""
    result["paths"].update(PAGES)
    result["components"].setdefault("securitySchemes", {})["metricsToken"] = METRICS_TOKEN
    return result
