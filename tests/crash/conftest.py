"""A shop to strike, and a stage for those who are stopped or take turns."""

from __future__ import annotations

import pytest

from tests.proof.actors import Stage
from tests.proof.world import World, on_stage


@pytest.fixture
def world(transactional_db, provider, tmp_path):
    provider.reset()
    with on_stage(mail_dir=tmp_path):
        world = World(provider=provider)
        world.open()
        yield world


@pytest.fixture
def stage(transactional_db):
    stage = Stage(8)
    yield stage
    stage.close()
