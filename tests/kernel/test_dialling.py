"""Which addresses are dialled for a URL that somebody typed, and that no name changes its mind."""
# ruff: noqa: S104 - nothing is bound to 0.0.0.0: it is one of the addresses to refuse

from __future__ import annotations

import ipaddress
import socket
import threading
import time

import pytest

from config.kernel.dialling import ForbiddenAddressError, PublicDial

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
OURS = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200"),
    *("192.0.0.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("192.88.99.1", "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1"),
    *("::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fec0::1", "ff02::1", "100::1", "5f00::1"),
]
PUBLIC = [
    *("8.8.8.8", "93.184.216.34", "100.63.255.255", "172.32.0.1", "::ffff:8.8.8.8"),
    *("2606:4700::1111", "2a00:1450:4001::200e"),
]


def resolver(*answers):
    """A name server that gives one answer after the other, and the last one for ever."""
    given = list(answers)

    def getaddrinfo(host, port, *_, **__):
        addresses = [host]  # an address is itself
        if not host[0].isdigit():
            addresses = given.pop(0) if len(given) > 1 else given[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, port)) for one in addresses]

    return getaddrinfo


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def connected(listener):
    """Whether anybody has connected to it."""
    listener.settimeout(0.2)
    try:
        listener.accept()[0].close()
    except TimeoutError:
        return False
    return True


class TestAddresses:
    @pytest.mark.parametrize("address", OURS)
    def test_that_are_not_public_are_refused(self, address):
        assert not PublicDial().is_allowed(ipaddress.ip_address(address))

    @pytest.mark.parametrize("address", PUBLIC)
    def test_that_are_public_are_dialled(self, address):
        assert PublicDial().is_allowed(ipaddress.ip_address(address))

    @pytest.mark.parametrize("address", PUBLIC)
    def test_that_are_public_can_be_left_out(self, address):
        dial = PublicDial(allowed=LOOPBACK, takes_public=False)

        assert not dial.is_allowed(ipaddress.ip_address(address))
        assert dial.is_allowed(ipaddress.ip_address("127.0.0.1"))

    def test_of_an_allowed_network_are_dialled_also_as_ipv6_writes_them(self):
        dial = PublicDial(allowed=LOOPBACK)

        assert dial.is_allowed(ipaddress.ip_address("127.0.0.1"))
        assert dial.is_allowed(ipaddress.ip_address("::ffff:127.0.0.1"))
        assert not dial.is_allowed(ipaddress.ip_address("10.0.0.1"))
        assert not dial.is_allowed(ipaddress.ip_address("::1"))


class TestAConnection:
    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1", "localhost", "0x7f.1", "2130706433", "0177.0.0.1", "127.1"),
            *("127.0.0.1.", "localhost.", "::ffff:127.0.0.1", "::ffff:7f00:1", "0.0.0.0", "0"),
        ],
    )
    def test_to_this_machine_is_refused_however_it_is_written(self, host, listener):
        with pytest.raises(OSError) as failed:  # noqa: PT011 - some are no name to a resolver
            PublicDial()(host, listener.getsockname()[1], 2.0)

        assert isinstance(failed.value, (ForbiddenAddressError, socket.gaierror))
        assert not connected(listener)

    def test_to_an_allowed_network_is_made(self, listener):
        with PublicDial(allowed=LOOPBACK)("localhost", listener.getsockname()[1], 2.0):
            assert connected(listener)

    def test_goes_to_the_address_that_was_looked_at(self, listener, monkeypatch):
        """DNS rebinding: public while it is looked at, this machine a moment later."""
        asked = resolver(["8.8.8.8"], ["127.0.0.1"])
        dialled = []
        monkeypatch.setattr(socket, "getaddrinfo", asked)
        monkeypatch.setattr(
            socket, "create_connection", lambda place, _: dialled.append(place) or socket.socket()
        )

        PublicDial()("rebinding.example", 443, 2.0).close()

        assert dialled == [("8.8.8.8", 443)]

    def test_is_refused_if_one_of_several_addresses_is_ours(self, listener, monkeypatch):
        monkeypatch.setattr(socket, "getaddrinfo", resolver(["8.8.8.8", "127.0.0.1"]))

        with pytest.raises(ForbiddenAddressError):
            PublicDial()("two.example", listener.getsockname()[1], 2.0)

        assert not connected(listener)

    def test_tries_the_next_address_if_one_does_not_answer(self, listener, monkeypatch):
        monkeypatch.setattr(socket, "getaddrinfo", resolver(["127.0.0.2", "127.0.0.1"]))

        with PublicDial(allowed=LOOPBACK)("two.example", listener.getsockname()[1], 2.0):
            assert connected(listener)

    def test_waits_no_longer_for_a_name_than_it_may(self, monkeypatch):
        """A merchant's name server that never answers must not hold a relay's hand."""
        let_go = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: let_go.wait(30) and [])
        began = time.monotonic()

        with pytest.raises(TimeoutError, match="not found in time"):
            PublicDial()("slow.example", 443, 0.2)

        assert time.monotonic() - began < 2
        let_go.set()

    @pytest.mark.parametrize("host", ["", "a" * 64 + ".example", "a..example", "no.such.invalid"])
    def test_to_what_is_no_name_fails_as_any_other(self, host):
        with pytest.raises(OSError):  # noqa: PT011 - of the resolver's own words
            PublicDial()(host, 443, 2.0)
