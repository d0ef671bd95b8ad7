"""EasyPost as documented: addresses, shipments with rates, labels, trackers, signed webhooks.

Follows https://docs.easypost.com and the answers printed there. There is one carrier, USPS, whose
rates go by weight. What a carrier does to a parcel is told with `POST /_test/trackers/ID`.
"""

from sandbox.answers import Answer
from sandbox.sinks import paper
from sandbox.sinks.calls import Call, Document, answer
from sandbox.sinks.easypost import hooks, shipments, trackers
from sandbox.sinks.easypost.requests import error_body, refuse


def take(call: Call) -> Answer:
    """Answer one call."""
    if call.method == "GET" and call.segments[:1] == ["files"]:  # as open as EasyPost's own
        return paper.label(call.segments[-1].removesuffix(".pdf"))
    credentials = call.basic_credentials()
    if not (call.knows_bearer_token() or (credentials and call.is_token(credentials[0]))):
        refuse(401, "APIKEY.INACTIVE", "This API key is no longer active or is wrong.")
    match call.method, call.segments:
        case "POST", ["v2", "addresses"]:
            return answer(shipments.create_address(call), status=201)
        case "GET", ["v2", "addresses", key]:
            return answer(shipments.get(call, "addresses", key))
        case "POST", ["v2", "shipments"]:
            return answer(shipments.create(call), status=201)
        case "GET", ["v2", "shipments"]:
            return answer(shipments.list_page(call))
        case "GET", ["v2", "shipments", key]:
            return answer(shipments.get(call, "shipments", key))
        case "POST", ["v2", "shipments", key, "buy"]:
            return answer(shipments.buy(call, key))
        case "POST", ["v2", "shipments", key, "refund"]:
            return answer(shipments.refund(call, key))
        case "GET", ["v2", "shipments", key, "label"]:
            return answer(shipments.convert_label(call, key))
        case "POST", ["v2", "trackers"]:
            return answer(trackers.create(call), status=201)
        case "GET", ["v2", "trackers", key]:
            return answer(shipments.get(call, "trackers", key))
        case _, ["v2", "webhooks", *rest]:
            return hooks.take(call, rest)
        case _:
            return refuse(404, "NOT_FOUND", "The requested resource could not be found.")


def error(status: int) -> Document:
    """What EasyPost says when it fails."""
    if status == 429:  # noqa: PLR2004 - too many calls
        return error_body("RATE_LIMITED", "You have been rate limited due to high activity.")
    return error_body("INTERNAL_SERVER_ERROR", "We're sorry, something went wrong.")
