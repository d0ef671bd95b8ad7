"""Row 50, where URLs are entered: what leads into our own network is refused, however written."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from integrations.webhooks import addresses
from integrations.webhooks.addresses import BadAddressError

NOT_PUBLIC = "not public"
NUMBERS = "four numbers"
REFUSED = {
    "https://127.0.0.1/": NOT_PUBLIC,
    "https://localhost/": NOT_PUBLIC,
    "https://LOCALHOST./": NOT_PUBLIC,
    "https://127.0.0.1./": NOT_PUBLIC,
    "https://169.254.169.254/latest/meta-data/": NOT_PUBLIC,
    "https://100.100.100.200/": NOT_PUBLIC,
    "https://192.168.0.1:8443/": NOT_PUBLIC,
    "https://0.0.0.0/": NOT_PUBLIC,
    "https://[::1]/": NOT_PUBLIC,
    "https://[::]/": NOT_PUBLIC,
    "https://[::ffff:127.0.0.1]/": NOT_PUBLIC,
    "https://[::ffff:a9fe:a9fe]/": NOT_PUBLIC,
    "https://[::127.0.0.1]/": NOT_PUBLIC,
    "https://[64:ff9b::7f00:1]/": NOT_PUBLIC,
    "https://[2002:7f00:1::]/": NOT_PUBLIC,
    "https://[fd00:ec2::254]/": NOT_PUBLIC,
    "https://[fe80::1]/": NOT_PUBLIC,
    "https://[fe80::1%25eth0]/": "in brackets",
    "https://[::1/": "in brackets|no URL",
    "https://[v1.a]/": "in brackets|no URL",
    "https://0x7f.1/": NUMBERS,
    "https://0x7f000001/": NUMBERS,
    "https://2130706433/": NUMBERS,
    "https://0177.0.0.1/": NUMBERS,
    "https://127.1/": NUMBERS,
    "https://127.0.0.1.0x/": NUMBERS,
    "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/": "ASCII",
    "https://\u24db\u24decalhost/": "ASCII",
    "https://bücher.example/": "ASCII form: xn--bcher-kva.example",
    "https://127.0.0.1\u200b/": "ASCII",
    "http://8.8.8.8/": "Must begin with https",
    "file:///etc/passwd": "Must begin with https",
    "gopher://8.8.8.8/": "Must begin with https",
    "ftp://8.8.8.8/": "Must begin with https",
    "javascript:alert(1)": "Must begin with https",
    "//8.8.8.8/": "Must begin with https",
    "8.8.8.8/hook": "Must begin with https",
    "https://": "Must begin with https",
    "https:///hook": "Must begin with https",
    "": "Must begin with https",
    "https://user:word@8.8.8.8/": "user name",
    "https://8.8.8.8@127.0.0.1/": "user name",
    "https://127.0.0.1#@8.8.8.8/": "fragment",
    "https://8.8.8.8/#top": "fragment",
    "https://8.8.8.8\\@127.0.0.1/": "characters",
    "https://8.8.8.8/a b": "characters",
    "https://8.8.8.8/\r\nX: y": "characters",
    "https://8.8.8.8/\x00": "characters",
    'https://8.8.8.8/"><script>': "characters",
    "https://exa%6dple.com/": "no name",
    "https://a..example/": "no name",
    "https://-a.example/": "no name",
    "https://8.8.8.8:22/": "port",
    "https://8.8.8.8:25/": "port",
    "https://8.8.8.8:0/": "port",
    "https://8.8.8.8:99999/": "port",
    "https://8.8.8.8:x/": "port",
    "https://8.8.8.8/" + "a" * 500: "500 characters",
    "https://no.such.invalid/": "Nobody knows",
}
ALLOWED = {
    "https://8.8.8.8/hook": "https://8.8.8.8/hook",
    "HTTPS://8.8.8.8:443": "https://8.8.8.8/",
    "https://8.8.8.8:8443/a?b=c%20d": "https://8.8.8.8:8443/a?b=c%20d",
    "  https://[2606:4700:0:0::1111]/  ": "https://[2606:4700::1111]/",
}


@pytest.mark.parametrize(("url", "why"), REFUSED.items())
def test_what_leads_nowhere_good_is_refused_in_words(url, why):
    with pytest.raises(BadAddressError, match=why):
        addresses.check(url)


@pytest.mark.parametrize(("url", "kept"), ALLOWED.items())
def test_what_is_public_is_kept_in_one_form(url, kept):
    assert addresses.check(url) == kept


def test_a_name_is_kept_without_the_dot_at_its_end(monkeypatch):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **_: [(2, 1, 6, "", ("8.8.8.8", port))]
    )

    assert addresses.check("https://ERP.Example./x") == "https://erp.example/x"


def test_a_name_with_one_address_of_ours_is_refused(monkeypatch):
    found = [(2, 1, 6, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    with pytest.raises(BadAddressError, match=NOT_PUBLIC):
        addresses.check("https://erp.example/")


class TestAnAllowedNetwork:
    @pytest.fixture(autouse=True)
    def _allowed(self, settings):
        settings.WEBHOOK_ALLOWED_NETWORKS = [ipaddress.ip_network("127.0.0.0/8")]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "https://127.0.0.1/"])
    def test_may_be_told_with_and_without_encryption(self, url):
        assert addresses.check(url) == url

    @pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://[::1]/"])
    def test_opens_no_other(self, url):
        with pytest.raises(BadAddressError, match=NOT_PUBLIC):
            addresses.check(url)

    def test_lets_nothing_public_be_told_in_the_clear(self):
        with pytest.raises(BadAddressError, match="https"):
            addresses.check("http://8.8.8.8/")

    def test_does_not_open_other_services_of_it(self):
        with pytest.raises(BadAddressError, match="port"):
            addresses.check("http://127.0.0.1:25/")
