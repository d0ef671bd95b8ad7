"""HubSpot's CRM as documented: contacts, deals, their properties, and associations between them.

Follows https://developers.hubspot.com/docs/api-reference: v3 objects and properties, v4
associations. The account is empty at first; of HubSpot's own properties only some are defined.
"""

from uuid import uuid4

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document
from sandbox.sinks.hubspot.associations import (
    associate_batch,
    associate_by_default,
    associate_by_type,
    dissociate,
    list_associations,
)
from sandbox.sinks.hubspot.objects import answer_objects
from sandbox.sinks.hubspot.properties import answer_properties
from sandbox.sinks.hubspot.requests import error_body, kind_of, refuse


def take(call: Call) -> Answer:
    """Answer one call."""
    if not call.knows_bearer_token():
        refuse(401, "INVALID_AUTHENTICATION", _NOT_LET_IN)
    match call.method, call.segments:
        case _, ["crm", "v3", "objects", kind, *rest]:
            found = answer_objects(call, kind_of(kind), rest)
        case _, ["crm", "v3", "properties", kind, *rest]:
            found = answer_properties(call, kind_of(kind), rest)
        case "PUT", ["crm", "v4", "objects", source, a, "associations", "default", target, b]:
            found = associate_by_default(call, (kind_of(source), a), (kind_of(target), b))
        case "PUT", ["crm", "v4", "objects", source, a, "associations", target, b]:
            found = associate_by_type(call, (kind_of(source), a), (kind_of(target), b))
        case "DELETE", ["crm", "v4", "objects", source, a, "associations", target, b]:
            found = dissociate(call, (kind_of(source), a), (kind_of(target), b))
        case "GET", ["crm", "v4", "objects", source, a, "associations", target]:
            found = list_associations(call, (kind_of(source), a), kind_of(target))
        case "POST", ["crm", "v4", "associations", source, target, "batch", "associate", "default"]:
            found = associate_batch(call, kind_of(source), kind_of(target))
        case _:
            found = None
    if found is None:
        refuse(404, None, "resource not found")
    return found


def error(status: int) -> Document:
    """What HubSpot says when it fails; of too many calls in the form documented for them."""
    if status == 429:  # noqa: PLR2004 - too many calls
        return {
            "status": "error",
            "message": "You have reached your secondly limit.",
            "errorType": "RATE_LIMIT",
            "correlationId": str(uuid4()),
            "policyName": "SECONDLY",
            "requestId": str(uuid4()),
        }
    return error_body(None, "internal error" if status >= 500 else "refused")  # noqa: PLR2004 - HTTP


_NOT_LET_IN = (
    "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can"
    " find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
)
