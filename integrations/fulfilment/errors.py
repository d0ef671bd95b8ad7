"""What can go wrong with warehouses and carriers, foreseeably."""

from config.kernel.errors import RequestKeyReusedError, ValidationFailedError


class WebhookRefusedError(ValidationFailedError):
    """A carrier's webhook that is not signed by it, is not of these minutes, or says nothing."""

    message = "This webhook is refused."


class FeedIdReusedError(RequestKeyReusedError):
    """A feed came under the id of one that was applied, with other counts."""

    message = "A feed with this id was applied, with other counts. Give this one an id of its own."
