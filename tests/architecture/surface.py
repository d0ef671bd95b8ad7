"""What of the OpenAPI document clients build on: routes, inputs, outputs, codes.

docs/openapi-surface.json keeps it; docs/api-versions.md says what may change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from config import docs

SNAPSHOT = Path(__file__).parents[2] / "docs/openapi-surface.json"
ERRORS_FROM = 400


def surface(document: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """By operation: `required` and `optional` inputs, `answers` (status and field), `codes`."""
    return {
        f"{method.upper()} {path}": _operation(document, described)
        for path, methods in sorted(document["paths"].items())
        for method, described in sorted(methods.items())
    }


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a client of the old surface would stumble over in the new one."""
    found = [f"{name} is gone" for name in sorted(old.keys() - new.keys())]
    for name in sorted(old.keys() & new.keys()):
        was, now = old[name], new[name]
        known = {*now["required"], *now["optional"]}
        found += [
            f"{name} takes {one} no more"
            for one in sorted({*was["required"], *was["optional"]} - known)
        ]
        found += [
            f"{name} requires {one} now" for one in sorted({*now["required"]} - {*was["required"]})
        ]
        for kind in ("answers", "codes"):
            found += [
                f"{name} answers {one} no more" for one in sorted({*was[kind]} - {*now[kind]})
            ]
    return found


def write() -> None:
    """Keep the surface as it is now."""
    SNAPSHOT.write_text(json.dumps(surface(docs._document()), indent=1) + "\n")


def _operation(document: dict[str, Any], described: dict[str, Any]) -> dict[str, list[str]]:
    inputs: dict[bool, set[str]] = {True: set(), False: set()}
    for reference in described.get("parameters", ()):
        parameter = _resolved(document, reference)
        name = f"{parameter['in']} {parameter['name']}"
        inputs[bool(parameter.get("required"))].add(name)
    for content in described.get("requestBody", {}).get("content", {}).values():
        for name, required in _fields(document, content.get("schema", {})).items():
            inputs[required].add(f"body {name}")
    answers, codes = set(), set()
    for status, answer in described["responses"].items():
        for content in answer.get("content", {}).values():
            if int(status) >= ERRORS_FROM:
                codes |= {f"{status} {code}" for code in content.get("examples", {})}
            else:
                answers |= {
                    f"{status} {name}" for name in _fields(document, content.get("schema", {}))
                }
        answers |= {status} if int(status) < ERRORS_FROM else set()
    return {
        "required": sorted(inputs[True]),
        "optional": sorted(inputs[False]),
        "answers": sorted(answers),
        "codes": sorted(codes),
    }


def _fields(
    document: dict[str, Any], schema: dict[str, Any], *, prefix: str = "", depth: int = 0
) -> dict[str, bool]:
    """Every field as `a.b[].c`, and whether an object that is sent has to have it."""
    schema = _resolved(document, schema)
    found: dict[str, bool] = {}
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found |= _fields(document, part, prefix=prefix, depth=depth + 1)
    if depth > 8:
        return found
    for name, inner in schema.get("properties", {}).items():
        found[prefix + name] = name in schema.get("required", ())
        found |= _fields(document, inner, prefix=f"{prefix}{name}.", depth=depth + 1)
    if "items" in schema:
        inside = f"{prefix.removesuffix('.')}[]." if prefix else "[]."
        found |= _fields(document, schema["items"], prefix=inside, depth=depth + 1)
    return found


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while reference := schema.get("$ref"):
        schema = document
        for step in reference.removeprefix("#/").split("/"):
            schema = schema[step]
    return schema
