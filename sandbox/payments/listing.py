"""Cursor pages over kept objects, as every list of Stripe's API has them."""

from sandbox.payments.calls import Call
from sandbox.payments.documents import Document
from sandbox.payments.errors import invalid_request, no_such_resource

DEFAULT_PAGE = 10
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def list_objects(
    call: Call, *, kind: str, filters: tuple[str, ...] = (), patterns: tuple[str, ...] = ()
) -> Document:
    """Answer one page, newest first, out of the objects whose fields are as asked.

    Args:
        call: the request.
        kind: Stripe's "object" value.
        filters: fields that must have the value asked for, or one of them.
        patterns: fields for which `*` in it stands for anything.
    """
    size = call.get("limit", DEFAULT_PAGE)
    if "starting_after" in call.params and "ending_before" in call.params:
        raise invalid_request(
            "You may only specify one of these parameters: starting_after, ending_before."
        )
    found = call.store.newest(
        kind=kind,
        limit=size + 1,  # one more tells whether there is a next page
        equal={name: call.params[name] for name in filters if name in call.params},
        like={name: call.params[name] for name in patterns if name in call.params},
        created=_bounds(call),
        older_than=_cursor(call, kind=kind, param="starting_after"),
        newer_than=_cursor(call, kind=kind, param="ending_before"),
    )
    backwards = "ending_before" in call.params
    page = found[-size:] if backwards else found[:size]
    return {"object": "list", "data": page, "has_more": len(found) > size, "url": call.path}


def _bounds(call: Call) -> dict[str, int]:
    created = call.get("created", {})
    if isinstance(created, int):
        return {"=": created}
    return {_OPERATORS[name]: value for name, value in created.items()}


def _cursor(call: Call, *, kind: str, param: str) -> int | None:
    object_id = call.get(param)
    if object_id is None:
        return None
    position = call.store.position(kind=kind, object_id=object_id)
    if position is None:
        raise no_such_resource(kind=kind, object_id=object_id, param=param, in_path=False)
    return position
