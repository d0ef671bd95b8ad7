"""The database and the cache of a chaos run, in a process of their own, started again when dead.

`bin/up` would run them itself; here it reaches them over wires that the storm cuts. Their addresses
are in `run/servers.json` once both answer; their processes in `run/servers.processes.json`.
"""

from __future__ import annotations

import json
import sys
import time

from config.processes import write_private
from sandbox import environment, servers
from sandbox.postgres import Postgres
from sandbox.processes import (
    Register,
    StartError,
    StopRequestedError,
    catch_stop_signals,
    stop_was_requested,
)
from sandbox.supervisor import Supervisor
from sandbox.valkey import Valkey

ROUND_SECONDS = 0.1


def main() -> int:
    """Run both until a stop signal comes."""
    catch_stop_signals()
    home = environment.home()
    register = Register(home / "run" / "servers.processes.json")
    supervisor = Supervisor(register=register, say=lambda what: print(what, flush=True))
    try:
        addresses = {}
        for variable, server in (
            ("DATABASE_URL", Postgres(home / "postgres", log=home / "log" / "postgres.log")),
            ("REDIS_URL", Valkey(home / "valkey", log=home / "log" / "valkey.log")),
        ):
            supervisor.adopt(servers.start(server, register=register))
            addresses[variable] = server.url
        write_private(home / "run" / "servers.json", json.dumps(addresses))
        while not stop_was_requested():
            supervisor.look_after()
            time.sleep(ROUND_SECONDS)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except StopRequestedError:
        pass
    finally:
        supervisor.stop()
    return 0
