"""Which addresses may be connected to: every notation of a private one, lists of hosts, and what errors may show."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from comfypod.errors import ConfigurationError, DownloadFailed
from comfypod.storage.addresses import LONGEST_URL, AddressPolicy, is_public, show_address

PUBLIC = AddressPolicy.from_lists("", "")

HOSTILE_URLS = {
    "loopback": "http://127.0.0.1/",
    "loopback, another one": "http://127.255.255.254:8188/",
    "decimal": "http://2130706433/",
    "octal": "http://0177.0.0.1/",
    "octal in one": "http://017700000001/",
    "hexadecimal": "http://0x7f.0x0.0x0.0x1/",
    "hexadecimal in one": "http://0x7F000001/",
    "hexadecimal, mixed": "http://0x7f.1/",
    "short": "http://127.1/",
    "shorter": "http://0/",
    "trailing dot": "http://127.0.0.1./",
    "trailing dot, decimal": "http://2130706433./",
    "full-width digits": "http://\uff11\uff12\uff17.0.0.1/",
    "circled digits": "http://\u2460\u2461\u2466.0.0.1/",
    "ideographic full stops": "http://127\u30020\u30020\u30021/",
    "unspecified": "http://0.0.0.0/",
    "private 10": "http://10.0.0.1/",
    "private 172.16": "http://172.31.255.255/",
    "private 192.168": "http://192.168.1.1/",
    "carrier-grade NAT": "http://100.64.0.1/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata, hexadecimal": "http://0xa9fea9fe/",
    "metadata of Azure's host": "http://168.63.129.16/",
    "metadata of Alibaba": "http://100.100.100.200/",
    "metadata of Oracle": "http://192.0.0.192/",
    "multicast": "http://224.0.0.1/",
    "multicast, global": "http://233.252.0.1/",
    "broadcast": "http://255.255.255.255/",
    "reserved": "http://240.0.0.1/",
    "benchmarks": "http://198.18.0.1/",
    "documentation": "http://203.0.113.1/",
    "6to4 relay": "http://192.88.99.1/",
    "IPv6 loopback": "http://[::1]/",
    "IPv6 loopback, in full": "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "IPv6 unspecified": "http://[::]/",
    "IPv6 link-local": "http://[fe80::1]/",
    "IPv6 link-local with a zone": "http://[fe80::1%25eth0]/",
    "IPv6 loopback with a zone": "http://[::1%eth0]/",
    "IPv6 site-local": "http://[fec0::1]/",
    "IPv6 unique local": "http://[fd00::1]/",
    "IPv6 metadata of AWS": "http://[fd00:ec2::254]/",
    "IPv6 multicast": "http://[ff0e::1]/",
    "IPv6 documentation": "http://[2001:db8::1]/",
    "IPv6 documentation, new": "http://[3fff::1]/",
    "IPv6 unassigned": "http://[4000::1]/",
    "IPv6 segment routing": "http://[5f00::1]/",
    "IPv4-mapped loopback": "http://[::ffff:127.0.0.1]/",
    "IPv4-mapped metadata, hexadecimal": "http://[::ffff:a9fe:a9fe]/",
    "IPv4-compatible loopback": "http://[::127.0.0.1]/",
    "IPv4-compatible public": "http://[::8.8.8.8]/",
    "IPv4-translated loopback": "http://[::ffff:0:127.0.0.1]/",
    "NAT64 of loopback": "http://[64:ff9b::127.0.0.1]/",
    "NAT64 of metadata": "http://[64:ff9b::a9fe:a9fe]/",
    "NAT64 local use": "http://[64:ff9b:1::8.8.8.8]/",
    "6to4 of loopback": "http://[2002:7f00:1::]/",
    "6to4 of a private address": "http://[2002:c0a8:101::1]/",
    "Teredo": "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
}

MALFORMED_URLS = {
    "file": "file:///etc/passwd",
    "gopher": "gopher://example.com/",
    "ftp": "ftp://example.com/",
    "data": "data:text/plain,secret",
    "no scheme": "example.com/file",
    "scheme-relative": "//example.com/file",
    "no host": "http:///file",
    "one slash": "http:/example.com",
    "empty": "",
    "user": "http://user@example.com/",
    "user and password": "http://user:secret@example.com/",
    "empty user and password": "http://:@example.com/",
    "host as a user": "http://example.com:80@127.0.0.1/",
    "backslash as a slash": "http://example.com\\@127.0.0.1/",
    "line break": "http://example.com/\r\nHost: 127.0.0.1",
    "tab": "http://exam\tple.com/",
    "zero byte": "http://127.0.0.1\x00.example.com/",
    "no-break space": "http://example.com/\u00a0",
    "lone surrogate": "http://example.com/\ud800",
    "blank in the host": "http://exam ple.com/",
    "percent in the host": "http://%31%32%37.0.0.1/",
    "port 0": "http://example.com:0/",
    "port too large": "http://example.com:65536/",
    "port no number": "http://example.com:http/",
    "two ports": "http://example.com:80:81/",
    "empty label": "http://example..com/",
    "only a dot": "http://./",
    "label too long": f"http://{'a' * 64}.com/",
    "name too long": f"http://{'a.' * 127}com/",
    "number too large": "http://256.256.256.256/",
    "too many numbers": "http://1.2.3.4.5/",
    "a name that ends in a number": "http://example.127/",
    "a name that ends in a hexadecimal number": "http://example.0x7f/",
    "bracket not closed": "http://[::1/",
    "IPv6 of too many groups": "http://[1:2:3:4:5:6:7:8:9]/",
    "IPv6 of the future": "http://[v1.fe80::a]/",
    "too long": "http://example.com/" + "a" * LONGEST_URL,
}


@pytest.mark.parametrize("url", HOSTILE_URLS.values(), ids=HOSTILE_URLS.keys())
def test_a_private_address_is_refused_in_every_notation(url: str) -> None:
    with pytest.raises(DownloadFailed, match=r"not public|valid IP|control|valid URL"):
        PUBLIC.check_url(url)


@pytest.mark.parametrize("url", MALFORMED_URLS.values(), ids=MALFORMED_URLS.keys())
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        AddressPolicy.from_lists("127.0.0.1, example.com, ::/0", "").check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a%2Fb/../c?X-Amz-Signature=%2f%7e+b%20&empty=",
        "http://example.com:8080/?",
        "https://1.1.1.1/x",
        "https://[2606:4700::1111]:8443/x",
        "https://xn--mnchen-3ya.de/",
    ],
)
def test_a_signed_address_is_sent_as_it_was_given(url: str) -> None:
    assert str(PUBLIC.check_url(url)) == url.removesuffix("?")


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ("HTTPS://EXAMPLE.com/X#part", "https://example.com/X"),
        ("http://münchen.de/größe?q=ü", "http://xn--mnchen-3ya.de/gr%C3%B6%C3%9Fe?q=%C3%BC"),
        ("http://example.com/a b", "http://example.com/a%20b"),
        ("http://0x01010101/x?y=%2F", "http://1.1.1.1/x?y=%2F"),
        ("http://[::ffff:1.1.1.1]:81/x", "http://1.1.1.1:81/x"),
        ("http://\uff11.1.1.1/", "http://1.1.1.1/"),
    ],
)
def test_an_address_is_requested_in_its_usual_notation(given: str, requested: str) -> None:
    assert str(PUBLIC.check_url(given)) == requested


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))
    PUBLIC.check_address("example.com", address, 443)


@pytest.mark.parametrize("address", ["127.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "no address", ""])
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(DownloadFailed) as caught:
        PUBLIC.check_address("example.com", address, 443)
    assert caught.value.address == "example.com:443"
    assert not address or address not in str(caught.value)  # an inner address is nobody else's business


@pytest.mark.parametrize(
    ("allowed", "url", "addresses", "is_allowed"),
    [
        ("files.example.com", "http://files.example.com/", ["10.0.0.1"], True),
        ("FILES.example.com.", "http://Files.Example.com./", ["10.0.0.1"], True),
        ("münchen.de", "http://xn--mnchen-3ya.de/", ["10.0.0.1"], True),
        ("files.example.com", "http://example.com/", ["8.8.8.8"], False),
        ("*.example.com", "http://a.b.example.com/", ["10.0.0.1"], True),
        ("*.example.com", "http://example.com/", ["8.8.8.8"], False),
        ("*.example.com", "http://badexample.com/", ["8.8.8.8"], False),
        ("example.com:8443", "https://example.com:8443/", ["10.0.0.1"], True),
        ("example.com:8443", "https://example.com/", ["8.8.8.8"], False),
        ("127.0.0.1", "http://0x7f.1:9000/", [], True),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/", [], True),
        ("127.0.0.1:9000", "http://127.0.0.1:9001/", [], False),
        ("127.0.0.1", "http://localhost/", ["127.0.0.1"], True),
        ("127.0.0.1", "http://localhost/", ["127.0.0.1", "::1"], False),
        ("10.0.0.0/8", "http://store.local/", ["10.1.2.3", "10.3.2.1"], True),
        ("10.0.0.0/8", "http://store.local/", ["11.0.0.1"], False),
        ("10.0.0.0/8:9000", "http://store.local/", ["10.0.0.1"], False),
        ("fd00::/8", "http://[fd00::1]/", [], True),
        ("[fd00::/8]:9000", "http://[fd00::1]:9000/", [], True),
        ("[fd00::/8]:9000", "http://[fd00::1]/", [], False),
        ("[fd00::/8]", "http://[fd00::1]/", [], True),
        ("example.com", "http://8.8.8.8/", [], False),
        ("a.com, b.com,", "http://b.com/", ["8.8.8.8"], True),
    ],
)
def test_with_an_allow_list_only_what_it_names_is_fetched(
    allowed: str, url: str, addresses: list[str], is_allowed: bool
) -> None:
    assert is_fetched(AddressPolicy.from_lists(allowed, ""), url, addresses) is is_allowed


@pytest.mark.parametrize(
    ("denied", "url", "addresses", "is_allowed"),
    [
        ("example.com", "http://example.com/", ["8.8.8.8"], False),
        ("example.com", "http://www.example.com/", ["8.8.8.8"], True),
        ("*.example.com", "http://www.example.com/", ["8.8.8.8"], False),
        ("8.8.8.0/24", "http://example.com/", ["1.1.1.1", "8.8.8.8"], False),
        ("8.8.8.8", "http://134744072/", [], False),
        ("8.8.8.8", "http://[::ffff:8.8.8.8]/", [], False),
        ("8.8.8.8", "http://[64:ff9b::8.8.8.8]/", [], False),
        ("8.8.8.8", "http://[2002:808:808::1]/", [], False),
        ("8.8.8.8", "http://[::8.8.8.8]/", [], False),
        ("8.8.8.8:80", "http://8.8.8.8/", [], False),
        ("8.8.8.8:80", "https://8.8.8.8/", [], True),
    ],
)
@pytest.mark.parametrize("allowed", ["", "0.0.0.0/0, ::/0"])
def test_the_deny_list_wins(allowed: str, denied: str, url: str, addresses: list[str], is_allowed: bool) -> None:
    assert is_fetched(AddressPolicy.from_lists(allowed, denied), url, addresses) is is_allowed


def is_fetched(policy: AddressPolicy, url: str, addresses: list[str]) -> bool:
    """Whether the URL passes, and all addresses of its name."""
    try:
        checked = policy.check_url(url)
        for address in addresses:
            policy.check_address(checked.raw_host or "", address, checked.port or 0)
    except DownloadFailed:
        return False
    return True


@pytest.mark.parametrize(
    "entry",
    [
        "https://example.com", "example.com/path", "*", "*.", "a*.com", "*.*.com", "10.0.0.1/8", "10.0.0.0/33",
        "256.1.1.1", "127.1", "0x7f.1", "example.com:0", "example.com:70000", "example.com:http", "fd00::1:9000:x",
        "[::1", "::1]:80", "::ffff:10.0.0.0/104", "exam ple.com", "user@example.com", ".",
    ],
)  # fmt: skip
def test_an_entry_that_means_nothing_is_named(entry: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AddressPolicy.from_lists(f"example.com, {entry}", "10.0.0.1/8")
    first, second = caught.value.problems
    assert first.startswith(f"DOWNLOAD_ALLOWED_HOSTS: {entry!r} ")
    assert second.startswith("DOWNLOAD_DENIED_HOSTS: '10.0.0.1/8' ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@example.com:8443/a/b?token=secret#secret", "https://example.com:8443/a/b"),
        ("http://[fd00::1]:80/x?secret", "http://[fd00::1]:80/x"),
        ("data:text/plain;base64,secret", "data:…"),
        ("secret", "an address without a scheme"),
        ("http://[secret", "an address that cannot be read"),
        ("http://example.com:secret/", "an address that cannot be read"),
        ("http://example.com/\x1b[31m", "http://example.com/?[31m"),
    ],
)
def test_shown_addresses_hold_no_secrets(url: str, shown: str) -> None:
    assert show_address(url) == shown


def test_a_shown_address_is_not_endless() -> None:
    assert len(show_address("http://example.com/" + "a" * 10_000)) == 200
