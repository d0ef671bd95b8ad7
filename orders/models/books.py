"""How the books stood when they were last checked."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class CheckedInvariant(models.Model):
    """How one invariant of the books stood when it was last checked (`check_books`).

    One row each, overwritten by the next check, for `/metrics` and for staff. `examples` are order
    numbers and the like, nothing of a person.
    """

    invariant = models.CharField(max_length=10)
    name = models.CharField(max_length=100, unique=True)
    violations = models.PositiveIntegerField()
    examples = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    checked_at = models.DateTimeField()
    seconds = models.FloatField()

    class Meta:
        db_table = "checked_invariants"

    def __str__(self) -> str:
        return f"{self.invariant} {self.name}"
