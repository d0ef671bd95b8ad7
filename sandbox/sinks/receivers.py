"""Which receiver answers which address: the first part of the path names it."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.answers import Answer
from sandbox.sinks import easypost, fulfilment, generic, hubspot, segment, webhooks, zendesk
from sandbox.sinks.calls import GENERIC, Call, Document


@dataclass(frozen=True)
class Receiver:
    """How one receiver answers.

    Args:
        take: the answer to a call; or a Refusal.
        error: the body that documents an error of this status.
    """

    take: Callable[[Call], Answer]
    error: Callable[[int], Document]


RECEIVERS: dict[str, Receiver] = {
    **dict.fromkeys(GENERIC, Receiver(generic.take, generic.error)),
    "fulfilment": Receiver(fulfilment.take, generic.error),
    "hubspot": Receiver(hubspot.take, hubspot.error),
    "segment": Receiver(segment.take, segment.error),
    "zendesk": Receiver(zendesk.take, zendesk.error),
    "easypost": Receiver(easypost.take, easypost.error),
    "webhooks": Receiver(webhooks.take, webhooks.error),
}
