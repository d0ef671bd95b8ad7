"""How metadata changes: keys are merged, an empty value removes one, null removes all."""

from sandbox.payments.errors import invalid_request
from sandbox.payments.readers import MAX_METADATA_KEYS


def merged(old: dict[str, str], new: dict[str, str] | None) -> dict[str, str]:
    """Return the metadata after a request that sent `new` (None: the parameter was empty).

    Raises:
        ApiError: there would be too many keys.
    """
    if new is None:
        return {}
    keys = {key: value for key, value in {**old, **new}.items() if value != ""}
    if len(keys) > MAX_METADATA_KEYS:
        raise invalid_request(
            f"You cannot have more than {MAX_METADATA_KEYS} keys in metadata.", param="metadata"
        )
    return keys
