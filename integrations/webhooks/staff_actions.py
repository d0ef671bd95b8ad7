"""The buttons of webhooks: secrets, tests, on and off, and sending again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from audit.models import Delivery
from audit.staff_actions import Done, Download, Said, StaffAction, StaffForm
from integrations.webhooks import services
from integrations.webhooks.delivery import PREFIX
from integrations.webhooks.models import WebhookEndpoint

if TYPE_CHECKING:
    from integrations.webhooks.models import WebhookSecret

MANAGE = "integrations.manage_webhooks"


class EndpointAction(StaffAction):
    """What is done to an endpoint."""

    permission = MANAGE

    def state(self, row: WebhookEndpoint) -> dict[str, Any]:
        current: WebhookSecret | None = row.secrets.filter(expires_at__isnull=True).first()
        return {"status": row.status, "secret": current.pk if current else None}


class SecretForm(StaffForm):
    """Whether the former one is known to somebody whom it should not be."""

    old_ends_now = forms.BooleanField(
        required=False,
        label="The present secret has leaked: it ends at once",
        help_text="Else both sign for 24 hours, so that the new one can be brought in.",
    )


class NewSecret(EndpointAction):
    name = "new-secret"
    label = "New secret…"
    icon = "key"
    description = (
        "Makes a secret and gives it to you as a file, this once: nobody can look it up later."
        " Enter it where the merchant's system checks signatures, then delete the file."
    )
    form = SecretForm
    audited = ("old_ends_now",)

    def run(self, row: WebhookEndpoint, said: Said) -> Done:
        secret = services.give_secret(
            endpoint_id=row.pk,
            request_key=said.request_key,
            user_id=said.user_id,
            old_ends_now=said.values["old_ends_now"],
        )
        file = Download(
            name=f"webhook-{row.pk}-secret.txt",
            content_type="text/plain; charset=utf-8",
            content=f"{secret}\n".encode(),
        )
        return Done(text="Made.", file=file)


class SendTest(EndpointAction):
    name = "test"
    label = "Send a test event"
    icon = "send"
    description = "Sends webhook.test within seconds; its log shows what was answered."

    def run(self, row: WebhookEndpoint, said: Said) -> Done:
        services.send_test(endpoint_id=row.pk, request_key=said.request_key)
        return Done(text="It is sent within seconds; the log shows what was answered.")


class EnableForm(StaffForm):
    """What becomes of the time in between."""

    send_missed = forms.BooleanField(
        required=False, initial=True, label="Send what it missed meanwhile, too"
    )


class Enable(EndpointAction):
    name = "enable"
    label = "Enable…"
    icon = "play_arrow"
    description = "Sends it the events it wants, from now on."
    form = EnableForm
    audited = ("send_missed",)

    def is_offered(self, row: WebhookEndpoint) -> bool:
        return row.status == WebhookEndpoint.Status.DISABLED

    def run(self, row: WebhookEndpoint, said: Said) -> Done:
        sent = services.enable(
            endpoint_id=row.pk,
            request_key=said.request_key,
            user_id=said.user_id,
            send_missed=said.values["send_missed"],
        )
        missed = f" {sent} events that it may have missed are sent." if sent else ""
        return Done(text=f"It is enabled.{missed}")


class Disable(EndpointAction):
    name = "disable"
    label = "Disable"
    icon = "block"
    description = (
        "Sends it nothing more, and lets nothing wait for it. Enabling can send what it missed."
        " To hold events back for an hour, pause its receiver instead."
    )
    is_dangerous = True

    def is_offered(self, row: WebhookEndpoint) -> bool:
        return row.status == WebhookEndpoint.Status.ENABLED

    def run(self, row: WebhookEndpoint, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        services.disable(endpoint_id=row.pk, because="staff has disabled it")
        return Done(text="It is sent nothing more.")


class _Moment(forms.DateTimeInput):
    input_type = "datetime-local"


class ReplayForm(StaffForm):
    """From when, and up to when; in the time zone of whoever asks."""

    since = forms.DateTimeField(label="Everything since", widget=_Moment)
    until = forms.DateTimeField(label="Until", widget=_Moment, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        zone = timezone.get_current_timezone_name()
        self.fields["since"].help_text = f"In {zone}."
        self.fields["until"].help_text = f"In {zone}. Empty: now."


class Replay(EndpointAction):
    name = "replay"
    label = "Send everything again…"
    icon = "replay"
    description = (
        "Sends all events of a span again, with the webhook-id that each had: a receiver that"
        " keeps them takes none twice. In order, and no more than 50 a second."
    )
    form = ReplayForm
    audited = ("since", "until")

    def is_offered(self, row: WebhookEndpoint) -> bool:
        return row.status == WebhookEndpoint.Status.ENABLED

    def run(self, row: WebhookEndpoint, said: Said) -> Done:
        made = services.replay(
            endpoint_id=row.pk,
            since=said.values["since"],
            until=said.values["until"],
            request_key=said.request_key,
            user_id=said.user_id,
        )
        return Done(text=f"{made.events} events are sent again; Replays shows how far they are.")


ENDPOINT_ACTIONS = (NewSecret(), SendTest(), Enable(), Disable(), Replay())


class SendAgain(StaffAction):
    """On the page of a delivery to a webhook that has ended, well or not."""

    name = "send-again"
    label = "Send again"
    permission = MANAGE
    icon = "replay"
    description = "Sends it once more, with the same webhook-id: the receiver can tell."

    def is_offered(self, row: Delivery) -> bool:
        return row.subscriber.startswith(PREFIX) and row.status != Delivery.Status.PENDING

    def state(self, row: Delivery) -> dict[str, Any]:
        return {"status": row.status, "attempts": row.attempts}

    def run(self, row: Delivery, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        services.send_again(delivery_id=row.pk)
        return Done(text="It is sent again now.")
