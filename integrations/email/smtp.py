"""Hands letters to a mail server, each within one time limit for the whole conversation."""

from __future__ import annotations

import io
import ipaddress
import smtplib
from typing import TYPE_CHECKING, Any, Final

from django.core.mail.backends import smtp

from config.kernel.clock import Deadline
from config.kernel.dialling import PublicDial
from config.kernel.transport import TimedReader

if TYPE_CHECKING:
    import socket

# The server is the operator's: it may be anywhere. What is wanted of it is its one time limit.
_DIAL: Final = PublicDial(allowed=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))
_LEAST_SECONDS: Final = 0.1  # a time-out of zero would mean "do not block", not "no time"


class TimedSMTP(smtplib.SMTP):
    """A conversation whose `timeout` bounds all of it, from the look-up of the name to the end.

    smtplib's own holds for each read and write: a server that says a byte a second never ends.
    """

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self._deadline = Deadline(timeout)  # it begins here; SMTP_SSL would pass by our __init__
        dialled = _DIAL(host, port, timeout)
        dialled.settimeout(self._left())  # for the handshake of TLS
        return dialled

    def send(self, s: Any) -> None:
        """Send it in what time is left."""
        if self.sock:
            self.sock.settimeout(self._left())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """Read an answer in what time is left."""
        if self.sock and self.file is None:
            reader = TimedReader(self.sock, give_up_at=self._deadline.ends_at)
            self.file = io.BufferedReader(reader)
        return super().getreply()

    def _left(self) -> float:
        return max(self._deadline.remaining(), _LEAST_SECONDS)


class TimedSMTPS(smtplib.SMTP_SSL, TimedSMTP):
    """The same over TLS from the first byte: in this order it is the timed socket that it wraps."""


class TimedSmtpBackend(smtp.EmailBackend):
    """Django's, with `EMAIL_TIMEOUT` for a letter and not for each of its words."""

    @property
    def connection_class(self) -> type[TimedSMTP]:
        """By `EMAIL_USE_SSL`."""
        return TimedSMTPS if self.use_ssl else TimedSMTP

    def open(self) -> bool | None:
        """Connect and log in; a connection that could not is closed, which Django forgets."""
        try:
            return super().open()
        except OSError:
            self.close()
            raise
