"""What is asked of a CRM, whichever it is, and which one it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from django.conf import settings

from integrations.crm.generic import GenericCrm
from integrations.crm.hubspot import HubSpot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config.kernel.clock import Deadline
    from integrations.crm.records import Contact, Occasion, OrderRecord


class Crm(Protocol):
    """A CRM: it is given present states, in any order and any number of times.

    Every method may raise `DeliveryFailedError` and its kinds, without personal data in the text.
    Nothing is known then of what was taken: the same is to be given again. None may be called
    inside a transaction.
    """

    batch: int
    """How many records it takes at once."""

    def __init__(
        self,
        *,
        base_url: str,
        token: str,
        changes: Mapping[str, str | None],
        deadline: Deadline,
    ) -> None:
        """Reach it there, with the changes of `CRM_FIELDS`; no call lasts past the deadline."""

    def keep_contacts(self, contacts: Sequence[Contact], occasion: Occasion) -> None:
        """Have people as they are, and nothing more of those who were erased."""

    def keep_orders(self, orders: Sequence[OrderRecord], occasion: Occasion) -> None:
        """Have orders as they are with their refunds and buyers."""

    def prepare(self) -> list[str]:
        """Have places for all that is told; returns the names of those that were made."""


ADAPTERS: Final[Mapping[str, type[Crm]]] = {"generic": GenericCrm, "hubspot": HubSpot}


def chosen(*, deadline: Deadline) -> Crm:
    """The shop's CRM, by its settings; cheap to ask for each time.

    Args:
        deadline: for all calls together.
    """
    return ADAPTERS[settings.CRM_ADAPTER](
        base_url=settings.CRM_BASE_URL,
        token=settings.CRM_TOKEN,
        changes=settings.CRM_FIELDS,
        deadline=deadline,
    )
