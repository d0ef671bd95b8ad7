"""Which receiver answers which address: the first part of the path names it."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.answers import Answer
from sandbox.sinks import generic
from sandbox.sinks.calls import GENERIC, Call, Document


@dataclass(frozen=True)
class Receiver:
    """How one receiver answers.

    Args:
        take: the answer to a call; raises Refusal before it keeps anything.
        error: the body that documents an error of this status.
    """

    take: Callable[[Call], Answer]
    error: Callable[[int], Document]


RECEIVERS: dict[str, Receiver] = {name: Receiver(generic.take, generic.error) for name in GENERIC}
