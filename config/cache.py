"""A cache that may be lost at any time: a failure reads as an empty cache, never as an error."""

from __future__ import annotations

import functools
import json
import time
from typing import TYPE_CHECKING, Any

import structlog
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from prometheus_client import Counter
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger(__name__)
failures = Counter("cache_failures_total", "Cache operations that failed and read as a miss")

PAUSE_SECONDS = 1.0  # after a failure nobody asks for so long: an outage costs few time-outs
LOG_EVERY_SECONDS = 30.0
TAKE = """
    local wait = 0
    for place, key in ipairs(KEYS) do
        if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[2 * place - 1]) then
            wait = math.max(wait, 1, redis.call('TTL', key))
        end
    end
    if wait == 0 then
        for place, key in ipairs(KEYS) do
            if redis.call('INCR', key) == 1 then
                redis.call('EXPIRE', key, ARGV[2 * place])
            end
        end
    end
    return wait
"""
GIVE_BACK = """
    for _, key in ipairs(KEYS) do
        if tonumber(redis.call('GET', key) or '0') > 0 then
            redis.call('DECR', key)
        end
    end
"""


class JsonSerializer:
    """Values as JSON: whoever can write to the cache cannot make this process run code."""

    def dumps(self, value: Any) -> int | bytes:
        """Integers stay plain, so that the server can count with them."""
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, stored: bytes) -> Any:
        return json.loads(stored)


class Outage:
    """What the threads of this process know about the server being away."""

    def __init__(self) -> None:
        self.paused_until = float("-inf")
        self.logged_at = float("-inf")

    def is_on(self) -> bool:
        """Whether it is too early to ask again."""
        return time.monotonic() < self.paused_until

    def seen(self, exc: Exception) -> None:
        """Note a failure."""
        now = time.monotonic()
        self.paused_until = now + PAUSE_SECONDS
        if now - self.logged_at > LOG_EVERY_SECONDS:
            self.logged_at = now
            log.warning("cache_away", error=type(exc).__name__)


outage = Outage()


def _forgiving(operation: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """The operation, or what `otherwise` makes of the same arguments while the server is away."""

    @functools.wraps(operation)
    def attempt(client: ForgivingClient, *args: Any, **kwargs: Any) -> Any:
        if not outage.is_on():
            try:
                return operation(client, *args, **kwargs)
            except (RedisError, OSError) as exc:
                outage.seen(exc)
        failures.inc()
        return otherwise(*args, **kwargs)

    return attempt


def _count(client: ForgivingClient, key: str, seconds: int) -> int:
    pipeline = client.get_client(key, write=True).pipeline()
    pipeline.incr(key)
    pipeline.expire(key, seconds)
    return int(pipeline.execute()[0])


def _take(client: ForgivingClient, keys: Sequence[str], numbers: Sequence[int]) -> int:
    server = client.get_client(None, write=True)
    wait: Any = server.eval(TAKE, len(keys), *keys, *numbers)
    return int(wait)


def _give_back(client: ForgivingClient, keys: Sequence[str]) -> None:
    client.get_client(None, write=True).eval(GIVE_BACK, len(keys), *keys)


class ForgivingClient(RedisCacheClient):
    """Django's client, each operation beside what it answers while the server is away.

    `add` then answers True: locks and once-only marks over the cache stand open, because the shop
    must go on selling; what has to be exclusive is so in PostgreSQL.
    """

    add = _forgiving(RedisCacheClient.add, lambda _key, _value, _timeout: True)
    get = _forgiving(RedisCacheClient.get, lambda _key, default: default)
    set = _forgiving(RedisCacheClient.set, lambda _key, _value, _timeout: None)
    touch = _forgiving(RedisCacheClient.touch, lambda _key, _timeout: False)
    delete = _forgiving(RedisCacheClient.delete, lambda _key: False)
    get_many = _forgiving(RedisCacheClient.get_many, lambda _keys: {})
    has_key = _forgiving(RedisCacheClient.has_key, lambda _key: False)
    incr = _forgiving(RedisCacheClient.incr, lambda _key, delta: delta)
    set_many = _forgiving(RedisCacheClient.set_many, lambda _values, _timeout: None)
    delete_many = _forgiving(RedisCacheClient.delete_many, lambda _keys: None)
    clear = _forgiving(RedisCacheClient.clear, lambda: False)
    count = _forgiving(_count, lambda _key, _seconds: 0)
    take = _forgiving(_take, lambda _keys, _numbers: None)
    give_back = _forgiving(_give_back, lambda _keys: None)


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache that never raises because of the network, and stores JSON only."""

    _cache: ForgivingClient

    def __init__(self, server: str | list[str], params: dict[str, Any]) -> None:
        options = {"serializer": JsonSerializer, **params.get("OPTIONS", {})}
        super().__init__(server, {**params, "OPTIONS": options})
        self._class = ForgivingClient

    def count(self, key: str, seconds: int) -> int:
        """Add one to a counter that vanishes after so many seconds; 0 while the server is away."""
        return int(self._cache.count(self.make_and_validate_key(key), seconds))

    def take(self, asked: Sequence[tuple[str, int, int]]) -> int | None:
        """Add one to every counter, unless one of them has reached its limit; then to none.

        Atomic. A counter vanishes so many seconds after it was begun.

        Args:
            asked: key, limit and seconds of each counter.

        Returns:
            0 if counted, else the seconds until it can be; None while the server is away.
        """
        keys = [self.make_and_validate_key(key) for key, _, _ in asked]
        numbers = [number for _, *numbers in asked for number in numbers]
        wait: int | None = self._cache.take(keys, numbers)
        return wait

    def give_back(self, keys: Sequence[str]) -> None:
        """Take one off every counter that is not at zero; nothing while the server is away."""
        self._cache.give_back([self.make_and_validate_key(key) for key in keys])
