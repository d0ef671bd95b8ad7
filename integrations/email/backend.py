"""Delivers e-mail to a directory: where no mail server is configured, one file a message."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.mail import EmailMessage


class EmlFileBackend(BaseEmailBackend):
    """Writes `<UTC time>_<about>_<uuid>.eml` under `settings.MAIL_DIR`; names sort by time.

    `about` is what an outbox message is about, `order-12`: an erasure finds its letters by it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(fail_silently=kwargs.get("fail_silently", False))
        self.directory = Path(settings.MAIL_DIR)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Each file appears complete or not at all.

        Raises:
            OSError: the directory cannot be written to.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for message in email_messages:
            self._write(message.message().as_bytes(), about=getattr(message, "about", "anything"))
        return len(email_messages)

    def _write(self, content: bytes, *, about: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        target = self.directory / f"{stamp}_{about}_{uuid.uuid4()}.eml"
        unfinished = target.with_suffix(".part")
        unfinished.write_bytes(content)
        os.replace(unfinished, target)  # noqa: PTH105 - says "atomic" to whoever knows rename(2)
