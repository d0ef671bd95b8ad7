"""How metadata changes: keys are merged, an empty value removes one, null removes all."""


def merged(old: dict[str, str], new: dict[str, str] | None) -> dict[str, str]:
    """Return the metadata after a request that sent `new` (None: the parameter was empty)."""
    if new is None:
        return {}
    return {key: value for key, value in {**old, **new}.items() if value != ""}
