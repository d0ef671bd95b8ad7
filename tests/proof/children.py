"""Work in a child process that is killed in the middle of it."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from django.db import connection

from payments import gateway
from tests.proof.edges import watched
from tests.proof.world import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.proof.edges import Watcher

SURVIVED: Final = 7
_kept: list[Any] = []  # in a child: what would say good-bye to the server if it were dropped


def in_child(work: Callable[[], Any], watcher: Watcher) -> bool:
    """Run it in a child of this process, which `watcher` may kill; was it killed?

    Raises:
        BrokenError: it ended in another way than by SIGKILL or at its end.
    """
    child = os.fork()
    if child == 0:
        code = 1
        gc.disable()  # it does not live that long, and would copy what it looks through
        try:
            # The parent's connections are not ours, neither to be used nor to be closed: kept.
            _kept.extend((connection.connection, gateway._client()))
            connection.connection = None
            gateway._client.cache_clear()
            with watched(watcher):
                work()
            code = SURVIVED
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        require("killed by us", holds=os.WTERMSIG(status) == signal.SIGKILL)
        return True
    require("the child does its work", holds=os.WEXITSTATUS(status) == SURVIVED, status=status)
    return False
