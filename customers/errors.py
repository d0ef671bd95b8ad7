"""What can be impossible about an account."""

from __future__ import annotations

import secrets
from typing import Final

from config.kernel.errors import DomainError, InvalidTransitionError, ServiceUnavailableError

MOST_SECONDS_TO_WAIT: Final = 3


class InactiveCustomerError(DomainError):
    """The customer is inactive or suspended: reading stays possible, nothing else."""

    code = "INACTIVE_CUSTOMER"
    status = 403
    message = "This account is not active."


class StaffAccountError(InvalidTransitionError):
    """A member of staff is no customer who can be erased."""

    message = "This account works here; take its staff rights away first."


class EditConflictError(DomainError):
    """The row has changed since the caller read it; `details` carry its present version."""

    code = "EDIT_CONFLICT"
    status = 409
    message = "This was changed in the meantime; read it again."


class TooManyLogInsError(ServiceUnavailableError):
    """More passwords to hash at this moment than the processors bear; nothing was tried."""

    message = "Too many people are logging in at this moment; please try again."

    def __init__(self) -> None:
        super().__init__()
        # Not all at the same second again.
        self.retry_after_seconds = 1 + secrets.randbelow(MOST_SECONDS_TO_WAIT)
