"""Counts that a warehouse's own system sends: all of a feed or nothing, and each feed once.

A feed is a stock document: its request key is the feed's id, so that the same feed again is the
same document, and another feed under that id is refused. What is promised to orders stays promised:
a count below it is refused, with the line, and so is the whole feed. Half of a feed would be
neither what the warehouse says nor what the shop believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from audit import services as audit
from config.kernel.db import short_transaction
from config.kernel.errors import ValidationFailedError
from integrations.fulfilment.errors import FeedIdReusedError
from inventory import documents
from inventory.errors import StockChangeRefusedError, StockRequestReusedError
from inventory.models import Product, StockMovement, Warehouse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inventory.models import StockDocument

MOST_LINES: Final = 2_000
"""Orders wait for the stock levels of a feed while it is applied: some tenths of a second."""
LONGEST_FEED_ID: Final = 100
MOST_NOTED: Final = 20  # bad lines in the log; the sender is told all of them
REASON: Final = "Count of the warehouse's system"  # which feed, the document's key tells
NO_PRODUCT: Final = "There is no such product."


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What lies in the building of one product, promised units among it.

    `expected`: what the sender believes that we have; the count is refused if we have not.
    """

    sku: str
    on_hand: int
    expected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a feed did: of so many lines so many changed what is on hand."""

    document_id: int
    lines: int
    changed: int


def apply_feed(*, warehouse_code: str, feed_id: str, counts: Sequence[Count]) -> Applied:
    """Set what is on hand in a building to what its system has counted. Opens its own transaction.

    Args:
        feed_id: the same one with the same counts again changes nothing and answers the same. One
            that was refused left nothing behind: it may be sent again, corrected or not.
        counts: at least one, at most `MOST_LINES`, each SKU once.

    Raises:
        ValidationFailedError: bad lines, all of them told by their place in `items`; nothing
            was changed.
        FeedIdReusedError: that feed was applied with other counts.
        CommitOutcomeUnknownError: the COMMIT was lost; send the same feed again.
    """
    warehouse = Warehouse.objects.filter(code=warehouse_code).first()
    if warehouse is None:
        raise ValidationFailedError(details={"warehouse": ["There is no such warehouse."]})
    products = dict(
        Product.objects.filter(sku__in=[count.sku for count in counts]).values_list("sku", "pk")
    )
    if unknown := {
        count.sku: {"sku": [NO_PRODUCT]} for count in counts if count.sku not in products
    }:
        raise _refusal(warehouse, feed_id, counts, unknown)
    lines = [_line(count, products[count.sku], warehouse) for count in counts]
    try:
        document = documents.write_lines(
            lines=lines,
            reason=REASON,
            request_key=f"feed:{warehouse.code}:{feed_id}",
        )
    except StockRequestReusedError as exc:
        raise FeedIdReusedError from exc
    except StockChangeRefusedError as exc:
        raise _refusal(warehouse, feed_id, counts, _problems(counts, lines)) from exc
    return _applied(document)


def _line(count: Count, product_id: int, warehouse: Warehouse) -> documents.Line:
    return documents.Line(
        product_id=product_id,
        warehouse_id=warehouse.pk,
        kind=StockMovement.Kind.COUNT,
        quantity=count.on_hand,
        reason=REASON,
        seen_on_hand=count.expected,
    )


def _problems(
    counts: Sequence[Count], lines: Sequence[documents.Line]
) -> dict[str, dict[str, list[str]]]:
    """What is wrong with which SKU, as stock stands now."""
    changes = documents.preview(lines=lines)
    return {
        count.sku: {"on_hand": [change.problem]}
        for count, change in zip(counts, changes, strict=True)
        if change.problem
    }


def _refusal(
    warehouse: Warehouse,
    feed_id: str,
    counts: Sequence[Count],
    problems: Mapping[str, Mapping[str, list[str]]],
) -> ValidationFailedError:
    """For the sender, and on record for staff."""
    noted = [{"line": sku, **told} for sku, told in list(problems.items())[:MOST_NOTED]]
    with short_transaction():
        audit.record(
            "STOCK_FEED_REFUSED",
            entity_type="warehouse",
            entity_id=warehouse.pk,
            data={"feed": feed_id, "lines": len(counts), "bad": len(problems), "problems": noted},
        )
    if not problems:  # stock moved between the refusal and the look
        return ValidationFailedError("Stock has moved at this very moment; send the feed again.")
    details: dict[str, Any] = {"items": [dict(problems.get(count.sku, {})) for count in counts]}
    return ValidationFailedError(details=details)


def _applied(document: StockDocument) -> Applied:
    quantities = document.movements.values_list("quantity", flat=True)
    return Applied(
        document_id=document.pk,
        lines=len(quantities),
        changed=sum(quantity != 0 for quantity in quantities),
    )
