"""The admin pages of all parts, where Django looks for them, and what they add to an order's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import reverse

from audit.staff_actions import Button
from integrations.fulfilment import admin as fulfilment
from integrations.fulfilment.staff_actions import LABELS_OF_ORDERS
from integrations.marketing import admin as marketing
from integrations.support import admin as support
from integrations.webhooks import admin as webhooks
from orders.admin import OrderAdmin
from orders.models import Order
from orders.staff_actions.of_orders import ORDER_ACTIONS

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["fulfilment", "marketing", "support", "webhooks"]


@admin.register(Order)
class OrderPageAdmin(OrderAdmin):
    """An order with what is done about it elsewhere. Here, since orders know nothing of that."""

    staff_actions = (*ORDER_ACTIONS, *LABELS_OF_ORDERS)

    def links(self, request: HttpRequest, row: Any) -> list[Button]:
        links = super().links(request, row)
        if request.user.has_perm("integrations.view_shippinglabel") and row.labels.exists():
            url = reverse("admin:integrations_shippinglabel_changelist")
            links.append(
                Button(
                    name="labels",
                    label="Labels",
                    url=f"{url}?order__id__exact={row.pk}",
                    icon="label",
                )
            )
        return links
