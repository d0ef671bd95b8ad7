"""What can go wrong with warehouses and carriers, foreseeably."""

from config.kernel.errors import (
    InvalidTransitionError,
    RequestKeyReusedError,
    ValidationFailedError,
)


class WebhookRefusedError(ValidationFailedError):
    """A carrier's webhook that is not signed by it, is not of these minutes, or says nothing."""

    message = "This webhook is refused."


class FeedIdReusedError(RequestKeyReusedError):
    """A feed came under the id of one that was applied, with other counts."""

    message = "A feed with this id was applied, with other counts. Give this one an id of its own."


class LabelsOffError(InvalidTransitionError):
    """Nobody sells labels to this shop."""

    message = "Nobody sells labels to this shop: set EASYPOST_API_KEY, or FULFILMENT_BASE_URL."


class LabelRefusedError(InvalidTransitionError):
    """The provider refuses to sell a label; says why, and that nothing was bought."""

    message = "The label was refused; nothing was bought."


class LabelBusyError(InvalidTransitionError):
    """Somebody buys this very label at this moment."""

    message = "It is being bought at this moment: look again in half a minute."
