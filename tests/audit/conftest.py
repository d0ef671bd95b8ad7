"""Copies of seals, of each test its own."""

from datetime import timedelta

import pytest

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
