"""What can go wrong with warehouses and carriers, foreseeably."""

from config.kernel.errors import ValidationFailedError


class WebhookRefusedError(ValidationFailedError):
    """A carrier's webhook that is not signed by it, is not of these minutes, or says nothing."""

    message = "This webhook is refused."
