"""What load balancers, Prometheus and readers of the documentation get."""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from audit import outbox
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import subscribers
from config import cache as forgiving
from config import health, sentry
from config.kernel import request_context
from config.kernel.api import throttles
from config.kernel.errors import RateLimitExceededError
from config.kernel.request_context import RequestContext
from config.logging import redacted
from orders.books import watch
from orders.models import CheckedInvariant


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def cache_away(settings):
    """Nobody listens where the cache should be."""
    settings.CACHES = {
        "default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    }
    forgiving.outage.paused_until = float("-inf")
    yield
    forgiving.outage.paused_until = float("-inf")


class TestHealthz:
    def test_touches_nothing(self, client):
        response = client.get("/healthz", headers={"Host": "10.1.2.3:8000"})

        assert response.status_code == 200
        assert response.json() == {"status": "ok"}

    def test_is_only_read(self, client):
        assert client.post("/healthz").status_code == 405


@pytest.mark.django_db
class TestReadyz:
    def test_answers_200_when_everything_does(self, client):
        response = client.get("/readyz")

        assert response.status_code == 200, response.content
        assert response.json() == {
            "status": "ready",
            "checks": {"database": "ok", "migrations": "ok", "cache": "ok", "broker": "ok"},
        }

    def test_names_the_cache(self, client, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        response = client.get("/readyz")

        assert response.status_code == 503
        assert response.json()["failing"] == ["cache"]

    def test_names_missing_migrations(self, client, monkeypatch):
        monkeypatch.setattr(health, "_expected_migrations", lambda: {("orders", "9999_later")})

        response = client.get("/readyz")

        assert (response.status_code, response.json()["failing"]) == (503, ["migrations"])

    def test_names_the_database(self, client, monkeypatch):
        elsewhere = health.connection.copy()
        elsewhere.settings_dict = {**elsewhere.settings_dict, "PORT": "1"}
        monkeypatch.setattr(health.connection, "copy", lambda: elsewhere, raising=False)

        response = client.get("/readyz")

        assert response.status_code == 503
        assert response.json()["failing"] == ["database", "migrations"]


@pytest.mark.django_db(transaction=True)
class TestMetrics:
    def test_count_by_route_template(self, client):
        client.get("/api/v1/secret-path")

        text = client.get("/metrics").content.decode()

        assert 'http_requests_total{method="GET",route="unmatched",status="404"}' in text
        assert "secret-path" not in text

    def test_are_for_this_machine_alone(self, client):
        assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
        assert client.get("/metrics", REMOTE_ADDR="::ffff:127.0.0.1").status_code == 200
        proxied = client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
        assert proxied.status_code == 403

    def test_are_for_the_bearer_of_the_token(self, client, settings):
        settings.METRICS_TOKEN = "s3cret"

        assert client.get("/metrics").status_code == 403
        assert client.get("/metrics", headers={"Authorization": "Bearer x"}).status_code == 403
        response = client.get(
            "/metrics", headers={"Authorization": "Bearer s3cret"}, REMOTE_ADDR="192.0.2.1"
        )
        assert response.status_code == 200


@pytest.mark.django_db(transaction=True)
class TestMetricsOfTheBooks:
    @pytest.fixture(autouse=True)
    def _checked(self):
        at = datetime(2026, 5, 4, 3, tzinfo=UTC)
        for invariant, name, violations in (
            ("I5", "paid_means_paid", 0),
            ("I7", "refunds_stay_within_received", 3),
            ("I17", "orders_are_charged_once", 1),
        ):
            CheckedInvariant.objects.create(
                invariant=invariant,
                name=name,
                violations=violations,
                examples=["WAHZ-CDXF-87"],
                checked_at=at if invariant != "I7" else at + timedelta(hours=1),
                seconds=0.1,
            )

    def test_tell_how_each_invariant_stood(self, client):
        text = client.get("/metrics").content.decode()

        told = [line for line in text.splitlines() if line.startswith("orderkeep_books")]
        assert told == [
            'orderkeep_books_violations{invariant="I5",name="paid_means_paid"} 0.0',
            'orderkeep_books_violations{invariant="I7",name="refunds_stay_within_received"} 3.0',
            'orderkeep_books_violations{invariant="I17",name="orders_are_charged_once"} 1.0',
            'orderkeep_books_checked_timestamp_seconds{against="database"} 1.7778636e+09',
            'orderkeep_books_checked_timestamp_seconds{against="provider"} 1.7778636e+09',
        ]
        assert "WAHZ" not in text

    def test_cost_one_short_statement(self):
        with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
            kept = watch.read_kept(cursor)

        assert len(queries) == 1
        assert [one.violations for one in kept] == [0, 3, 1]

    def test_are_the_same_beside_those_of_several_processes(self, client, tmp_path, monkeypatch):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

        text = client.get("/metrics").content.decode()

        assert text.count("orderkeep_books_violations{") == 3
        names = {family.name for family in text_string_to_metric_families(text)}
        assert len([name for name in names if name.startswith("orderkeep_books")]) == 2

    def test_are_missing_while_the_database_is_away_and_the_others_are_not(
        self, client, monkeypatch
    ):
        elsewhere = health.connection.copy()
        elsewhere.settings_dict = {**elsewhere.settings_dict, "PORT": "1"}
        monkeypatch.setattr(health.connection, "copy", lambda: elsewhere, raising=False)

        response = client.get("/metrics")

        assert response.status_code == 200
        assert "orderkeep_books" not in response.content.decode()
        assert "http_requests_total" in response.content.decode()


@pytest.mark.usefixtures("cache_away")
class TestForgivingCache:
    def test_reads_as_empty_while_the_server_is_away(self):
        cache.set("a", 1)

        assert cache.get("a", "default") == "default"
        assert cache.get_many(["a"]) == {}
        assert cache.add("a", 1) is True
        assert cache.incr("a") == 1
        assert cache.count("a", 60) == 0
        assert not cache.delete("a")
        assert not cache.touch("a")
        assert "a" not in cache
        assert cache.set_many({"a": 1}) == []
        cache.delete_many(["a"])
        cache.clear()
        cache.close()

    def test_does_not_ask_again_at_once(self, monkeypatch):
        cache.get("a")
        asked = []
        monkeypatch.setattr(redis.connection.ConnectionPool, "get_connection", asked.append)

        assert cache.get("a") is None
        assert asked == []

    def test_lets_everybody_through(self, settings):
        settings.THROTTLE = True

        assert all(
            throttles.seconds_to_wait(scope="orders", identity="me") is None for _ in range(200)
        )


class TestCache:
    def test_passes_its_time_outs_on(self):
        pool = cache._cache.get_client().connection_pool

        assert pool.connection_kwargs["socket_timeout"] == 0.1
        assert pool.connection_kwargs["socket_connect_timeout"] == 0.1

    def test_keeps_json(self):
        for value in (1, True, None, "text", [1, 2.5], {"a": [None]}):
            cache.set("kept", value, 10)
            assert cache.get("kept") == value


class TestThrottle:
    @pytest.fixture(autouse=True)
    def _narrow(self, settings):
        settings.THROTTLE = True
        settings.THROTTLE_RATES = {
            **settings.THROTTLE_RATES,
            "orders": (3, 3_600),
            "anonymous": (2, 3_600),
        }
        cache.clear()

    def test_refuses_beyond_the_rate_and_says_when(self):
        for _ in range(3):
            throttles.check(scope="orders", identity="me")

        with pytest.raises(RateLimitExceededError) as caught:
            throttles.check(scope="orders", identity="me")

        assert 0 < caught.value.retry_after_seconds <= 3_601
        throttles.check(scope="orders", identity="somebody else")

    def test_is_off_where_told(self, settings):
        settings.THROTTLE = False

        for _ in range(10):
            throttles.check(scope="orders", identity="me")

    def test_answers_429_by_address_whatever_is_forwarded(self, client):
        answers = [
            client.get("/api/schema", headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(4)
        ]

        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert answers[-1].json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        assert int(answers[-1]["Retry-After"]) >= 1

    def test_counts_a_subscriber_s_ipv6_addresses_as_one(self, client):
        where = [f"2001:db8:1:2::{n}" for n in range(3)] + ["2001:db8:1:3::1"]

        answers = [client.get("/api/schema", REMOTE_ADDR=address) for address in where]

        assert [answer.status_code for answer in answers] == [200, 200, 429, 200]


class TestDocumentation:
    def test_is_openapi_3_1_in_json(self, client):
        for target in ("/api/schema", "/api/schema?format=json"):
            response = client.get(target, headers={"Accept": "application/json"})
            assert response["Content-Type"] == "application/json"
            assert response.json()["openapi"].startswith("3.1")

    def test_names_every_error_of_every_operation(self, client):
        document = client.get("/api/schema").json()

        assert document["paths"]
        assert {"/healthz", "/readyz", "/metrics"} <= document["paths"].keys()
        api = {path: ways for path, ways in document["paths"].items() if path.startswith("/api/")}
        for methods in api.values():
            for described in methods.values():
                assert {"400", "405", "413", "415", "500"} <= described["responses"].keys()
                for status, response in described["responses"].items():
                    if int(status) >= 400:
                        schema = response["content"]["application/json"]["schema"]
                        assert schema == {"$ref": "#/components/schemas/Error"}
        me = document["paths"]["/api/v1/me"]["patch"]
        assert set(me["responses"]["409"]["content"]["application/json"]["examples"]) == {
            "EDIT_CONFLICT"
        }
        assert {"401", "403"} <= me["responses"].keys()

    @pytest.mark.django_db
    def test_page_loads_everything_from_here_and_runs_nothing_inline(self, client):
        page = client.get("/api/docs")
        text = page.content.decode()

        assert "unsafe" not in page["Content-Security-Policy"]
        assert "http://" not in text
        assert "https://" not in text
        assert "<style" not in text
        assert "<script>" not in text
        for source in ("swagger-ui.css", "swagger-ui-bundle.js"):
            static = client.get(f"/static/drf_spectacular_sidecar/swagger-ui-dist/{source}")
            assert static.status_code == 200
            static.close()
        assert "/api/schema" in client.get("/api/docs/start.js").content.decode()

    @pytest.mark.django_db
    def test_of_the_account_routes_is_allauth_s_own(self, client):
        response = client.get("/_allauth/openapi.json")

        assert "/_allauth/app/v1/auth/signup" in response.json()["paths"]


class TestAdminPages:
    @pytest.mark.django_db
    def test_keep_a_policy_and_strict_cookies(self, client):
        page = client.get("/admin/login/")

        assert page.status_code == 200
        assert "unsafe" not in page["Content-Security-Policy"]
        assert page["Referrer-Policy"] == "same-origin"
        assert page.cookies["csrftoken"]["samesite"] == "Lax"

    @pytest.mark.django_db
    def test_refuse_a_post_without_token(self):
        strict = Client(enforce_csrf_checks=True)

        assert strict.post("/admin/login/", {"username": "a", "password": "b"}).status_code == 403


class TestLogs:
    def test_hold_no_personal_data(self):
        text = "ann@example.com paid with 4242 4242 4242 4242"

        assert redacted(text) == "[e-mail] paid with [card]"
        assert redacted("task 866f5778-f1c7-4242-4242-424242424242 0.4242424242424242 s") == (
            "task 866f5778-f1c7-4242-4242-424242424242 0.4242424242424242 s"
        )
        assert redacted("mail to <ann@example.com> failed") == "mail to <[e-mail]> failed"
        assert redacted("key sk_test_orderkeep used") == "key [secret] used"

    def test_are_one_json_record_an_event(self):
        program = (
            "import logging.config, structlog\n"
            "from config.logging import settings_for_logging\n"
            "logging.config.dictConfig(settings_for_logging(level='INFO'))\n"
            "log = structlog.get_logger('shop')\n"
            "try:\n"
            '    raise ValueError(\'ann@example.com\\n{"level": "forged"}\')\n'
            "except ValueError:\n"
            "    log.exception('broke', note='a\\x1b[31m\\r\\nb')\n"
            "logging.getLogger('library').warning('said %s', 'it\\n2nd')\n"
        )
        finished = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )

        broke, said = map(json.loads, finished.stderr.splitlines())
        assert broke["event"] == "broke"
        assert broke["exception"][0]["type"] == "ValueError"
        assert "ann@example.com" not in finished.stderr
        assert (said["event"], said["level"]) == ("said it\n2nd", "warning")

    def test_request_line_names_the_template(self, client, caplog):
        with caplog.at_level(logging.INFO, logger="request"):
            client.get("/api/schema?token=secret", headers={"X-Request-ID": "abc"})

        (record,) = [record for record in caplog.records if record.name == "request"]
        assert record.msg["route"] == "/api/schema"
        assert record.msg["request_id"] == "abc"
        assert "secret" not in str(record.msg)


class TestSentry:
    def test_sends_nothing_that_a_person_sent(self):
        event = {
            "request": {
                "url": "http://shop/api/v1/orders?token=secret",
                "query_string": "token=secret",
                "data": {"email": "ann@example.com"},
                "cookies": {"sessionid": "secret"},
                "headers": {"Authorization": "Bearer secret", "Content-Type": "application/json"},
                "env": {"REMOTE_ADDR": "192.0.2.1"},
                "method": "POST",
            },
            "user": {"email": "ann@example.com", "ip_address": "192.0.2.1"},
            "extra": {"body": "secret"},
            "exception": {
                "values": [
                    {
                        "type": "IntegrityError",
                        "value": "duplicate key\nDETAIL: (ann@example.com)",
                        "stacktrace": {"frames": [{"vars": {"password": "secret"}}]},
                    }
                ]
            },
        }

        with request_context.bound(RequestContext(request_id="abc", user_id=7)):
            sent = sentry.before_send(event, {})

        text = json.dumps(sent)
        assert not any(word in text for word in ("secret", "ann@example.com", "192.0.2.1"))
        assert sent["user"] == {"id": 7}
        assert sent["tags"]["request_id"] == "abc"
        assert sent["exception"]["values"][0]["value"] == "duplicate key"


@pytest.mark.django_db(transaction=True)  # they are read on a connection of their own
class TestMetricsOfTheOutbox:
    def told(self, client):
        lines = client.get("/metrics").content.decode().splitlines()
        return {
            name.removeprefix("orderkeep_outbox_"): float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines)
            if name.startswith("orderkeep_outbox_")
        }

    def test_tell_what_each_receiver_has_not_been_told(self, client):
        message = OutboxMessage.objects.create(
            fact="a.b", aggregate_type="a", aggregate_id=1, dedupe_key="a", payload={}
        )
        hour_ago = timezone.now() - timedelta(hours=1)
        for subscriber, status in (("crm", "pending"), ("email", "dead"), ("desk", "delivered")):
            Delivery.objects.create(
                message=message, subscriber=subscriber, status=status, created_at=hour_ago
            )
            Receiver.objects.create(subscriber=subscriber)
        Receiver.objects.filter(subscriber="crm").update(retry_at=timezone.now())
        Receiver.objects.filter(subscriber="desk").update(paused_at=timezone.now())

        told = self.told(client)

        assert 3_600 <= told.pop('lag_seconds{subscriber="crm"}') < 3_700
        assert {name for name, value in told.items() if value} == {
            'waiting{subscriber="crm"}',
            'resting{subscriber="crm"}',
            'dead{subscriber="email"}',
            'paused{subscriber="desk"}',
        }
        assert len(told) == 14

    def test_count_those_that_come_and_go_as_one(self, client, monkeypatch):
        monkeypatch.setattr(subscribers, "_families", {})
        outbox.add_family(
            outbox.Family(
                prefix="hook:",
                wanted=list,
                tell=lambda *_: None,
                measure=outbox.Measure(),
            )
        )
        for number in range(50):
            Receiver.objects.create(subscriber=f"hook:{number}", retry_at=timezone.now())

        told = self.told(client)

        assert told['resting{subscriber="hook"}'] == 50
        assert len(told) == 5
