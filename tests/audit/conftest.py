"""Copies of seals and subscriptions, of each test its own."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import pytest

from audit.outbox import subscribers
from audit.seals import sealing, verification


@pytest.fixture
def outside(settings, tmp_path, transactional_db):
    """The directory of the copies; nothing is forgiven for being young."""
    settings.AUDIT_SEAL_DIR = str(tmp_path / "seals")
    return tmp_path / "seals"


@pytest.fixture
def strictly(monkeypatch, outside):
    """Seals of about ten rows, whose copies may not come late."""
    monkeypatch.setattr(sealing, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(verification, "COPY_LAG", timedelta(0))
    return outside


@pytest.fixture
def nobody_listens(monkeypatch):
    """No subscriptions but those of the test, and they end with it."""
    monkeypatch.setattr(subscribers, "_handlers", defaultdict(dict))
    for name in ("_batch_handlers", "_measures", "_families"):
        monkeypatch.setattr(subscribers, name, {})
