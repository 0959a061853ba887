"""Which hosts and addresses may be connected to: what keeps a caller's URL out of private networks. No DNS, no I/O."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from yarl import URL

from comfypod.errors import ConfigurationError, DownloadFailed

LONGEST_URL = 8_000  # characters; a URL that S3 signed with a session token has about 2,500
LONGEST_SHOWN = 200

_NAME = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
# A host whose last label is a number is an IPv4 address or nothing (https://url.spec.whatwg.org/#ends-in-a-number-checker).
_ENDS_IN_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)")
_ENTRY = re.compile(r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<plain>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")
_SENT_AS_GIVEN = re.compile(r"[!#-;=?-\[\]_a-z~]*")  # ASCII without what a URL must encode

# https://www.iana.org/assignments/ipv6-unicast-address-assignments: all that is routed is in here.
_IPV6_UNICAST = IPv6Network("2000::/3")
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_LAST_32_BITS_ARE_IPV4 = (_IPV4_MAPPED, _NAT64, IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"))
# What `is_global` calls global, in some version of Python, and yet is no place to fetch from.
_NOT_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # Azure's host agent, with the machine's secrets
    IPv4Network("192.0.0.0/24"),  # IETF protocols; Oracle's metadata
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv6Network("2001::/23"),  # IETF protocols, Teredo
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)


def show_address(url: str) -> str:
    """Scheme, host, port and path of ``url``, for errors and logs: user info, query and fragment may be secrets."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an address that cannot be read"
    if not host:  # the rest of a data: URL is its content
        return f"{parts.scheme}:…" if parts.scheme else "an address without a scheme"
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    shown = "".join(item if item.isprintable() else "?" for item in f"{parts.scheme}://{place}{parts.path}")
    return shown if len(shown) <= LONGEST_SHOWN else shown[: LONGEST_SHOWN - 1] + "…"


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether everyone on the internet would reach the same machine there.

    An IPv6 address by which an IPv4 address is reached (IPv4-mapped, NAT64) is judged as that one. 6to4 and Teredo
    are not public: nobody serves files by them, and they lead wherever their sender says.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64 or address in _IPV4_MAPPED:
            return is_public(_last_32_bits(address))
        if address not in _IPV6_UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _NOT_PUBLIC)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a list: a name, one that begins with a dot (all names below it), or a network; and its port."""

    name: str | None
    network: IPv4Network | IPv6Network | None
    port: int | None

    def has_port(self, port: int) -> bool:
        return self.port in {None, port}

    def covers(self, name: str, addresses: Iterable[IPv4Address | IPv6Address], port: int) -> bool:
        if not self.has_port(port):
            return False
        if self.name is not None:
            return name.endswith(self.name) if self.name.startswith(".") else name == self.name
        return self.network is not None and any(item in self.network for item in addresses)


class AddressPolicy:
    """Which hosts and addresses may be connected to.

    - Without an allow list: every public address, and names all of whose addresses are public.
    - With one: only what it lists, and that may be private. An entry is a name (whatever addresses the name has),
      ``*.example.com`` (every name below ``example.com``, not that name itself), an address or a network (for these
      addresses, and for names all of whose addresses are listed). Where redirects lead must be listed too.
    - The deny list has the same entries and wins over everything. It looks at the name, at every address of it, and
      at the IPv4 address that an IPv6 address embeds.
    - ``:PORT`` narrows an entry to that port: ``example.com:8443``, ``10.0.0.0/8:9000``, ``[fd00::/8]:9000``.

    `check_url` comes before a name is looked up, and `check_address` after it, for every address of the name.
    """

    def __init__(self, allowed: Sequence[_Entry] = (), denied: Sequence[_Entry] = ()) -> None:
        self._allowed = tuple(allowed)
        self._denied = tuple(denied)

    @classmethod
    def from_lists(cls, allowed: str, denied: str) -> AddressPolicy:
        """The policy of the settings DOWNLOAD_ALLOWED_HOSTS and DOWNLOAD_DENIED_HOSTS (comma-separated).

        Raises:
            ConfigurationError: an entry is none of the forms; every such entry is named.
        """
        problems: list[str] = []
        lists = [
            _entries("DOWNLOAD_ALLOWED_HOSTS", allowed, problems),
            _entries("DOWNLOAD_DENIED_HOSTS", denied, problems),
        ]
        if problems:
            raise ConfigurationError(problems)
        return cls(*lists)

    def check_url(self, url: str) -> URL:
        """``url`` as it is to be requested, if nothing speaks against it before its name is looked up.

        An IP address in any notation (``0x7f.1``, ``2130706433``, ``::ffff:127.0.0.1``) is judged as the address that
        it means, and replaced by its usual notation, so that nobody reads it differently later. Path and query
        are left as they are, where they are encoded: a signature may cover them. The fragment is dropped.

        Raises:
            DownloadFailed: it is no http or https URL, carries user info, or leads where it must not.
        """
        try:
            address = _parsed(url)
            literal = _literal(address.raw_host or "")
        except ValueError as error:
            raise DownloadFailed(show_address(url), str(error)) from None  # the cause may quote the query
        refusal = self._refusal(address.raw_host or "", literal, address.port or 0)
        if refusal:
            raise DownloadFailed(show_address(url), refusal)
        return address if literal is None else address.with_host(str(literal))

    def check_address(self, host: str, address: str, port: int) -> None:
        """See that ``host``, which has ``address`` (an IP address), may be connected to there.

        Call it with every address of the host, and connect to none if one of them is refused.

        Raises:
            DownloadFailed: it may not.
        """
        try:
            refusal = self._refusal(host, _usual(ip_address(address)), port)
        except ValueError:
            refusal = "its name leads to something that is no IP address"
        if refusal:
            raise DownloadFailed(f"{host}:{port}", refusal)

    def _refusal(self, host: str, address: IPv4Address | IPv6Address | None, port: int) -> str | None:
        """Why not; an ``address`` that is None is not known yet. Addresses of names are not told to the caller."""
        name = host.lower().removesuffix(".")
        if any(entry.covers(name, _forms(address), port) for entry in self._denied):
            return "DOWNLOAD_DENIED_HOSTS forbids this host"
        if self._allowed:
            own = [] if address is None else [address]
            undecided = address is None and any(entry.network and entry.has_port(port) for entry in self._allowed)
            allowed = undecided or any(entry.covers(name, own, port) for entry in self._allowed)
            return None if allowed else "this host is not among DOWNLOAD_ALLOWED_HOSTS"
        # RFC 6761, 6.3: names of this machine, whatever a resolver makes of them.
        is_own_name = name == "localhost" or name.endswith(".localhost")
        if not is_own_name and (address is None or is_public(address)):
            return None
        return "this host's address is not public; an operator may list it in DOWNLOAD_ALLOWED_HOSTS"


def _parsed(url: str) -> URL:
    """The URL with its host in ASCII and lower case; ValueError says what is wrong."""
    if len(url) > LONGEST_URL:
        raise ValueError(f"the address has more than {LONGEST_URL:,} characters")
    if not url.isprintable() or "\\" in url:  # parsers disagree about what these mean
        raise ValueError("the address contains a control character or a backslash")
    try:
        address = URL(url)
        # Else the query is written anew, which breaks signatures.
        exact = URL(url, encoded=True) if _SENT_AS_GIVEN.fullmatch(url) else address
    except ValueError:
        raise ValueError("the address is not a valid URL") from None
    if address.scheme not in {"http", "https"}:
        raise ValueError("only http and https addresses can be fetched")
    if "@" in exact.raw_authority or "@" in address.raw_authority:
        raise ValueError("the address contains a user name or a password; send credentials another way")
    host = address.raw_host
    if not host or not (":" in host or _NAME.fullmatch(host)):
        raise ValueError("the address has no valid host")
    if not address.port:
        raise ValueError("the address has no valid port")
    return exact.with_host(host).with_fragment(None)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The IP address that ``host`` is in any notation; None for a name; ValueError for what only looks like one."""
    try:
        if ":" in host:
            return _usual(IPv6Address(host if "%" not in host else ""))  # a zone id names an interface of ours
        if _ENDS_IN_NUMBER.fullmatch(host.removesuffix(".")):
            return IPv4Address(socket.inet_aton(host.removesuffix(".")))  # as getaddrinfo would understand it
    except (ValueError, OSError):
        raise ValueError("the address's host is not a valid IP address") from None
    return None


def _usual(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _last_32_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)


def _forms(address: IPv4Address | IPv6Address | None) -> list[IPv4Address | IPv6Address]:
    """The address, and every IPv4 address that it embeds."""
    if address is None:
        return []
    forms = [address]
    if isinstance(address, IPv6Address):
        forms += [_last_32_bits(address)] if any(address in network for network in _LAST_32_BITS_ARE_IPV4) else []
        forms += [address.sixtofour] if address.sixtofour else []
        forms += address.teredo or ()
    return forms


def _entries(setting: str, text: str, problems: list[str]) -> list[_Entry]:
    entries = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            entries.append(_entry(item))
        except ValueError as error:
            problems.append(f"{setting}: {item!r} {error}.")
    return entries


def _entry(text: str) -> _Entry:
    """Read one entry; ValueError says what is wrong with it."""
    match = _ENTRY.fullmatch(text)
    host = (match["bracketed"] or match["plain"]) if match else text  # an IPv6 address without brackets
    port = int(match["port"]) if match and match["port"] else None
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError("has a port that is not one")
    try:
        network = ip_network(host)
    except ValueError as error:
        return _Entry(_entry_name(host, str(error)), None, port)
    if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
        raise ValueError("is an IPv4 network in disguise: write it as one")
    return _Entry(None, network, port)


def _entry_name(text: str, problem: str) -> str:
    below = text.startswith("*.")
    try:
        name = (URL.build(scheme="http", host=text.removeprefix("*.")).raw_host or "").removesuffix(".")
    except ValueError:
        name = ""
    if "has host bits set" in problem:
        raise ValueError("is an address with a network's length: write the network's first address")
    if not _NAME.fullmatch(name) or _ENDS_IN_NUMBER.fullmatch(name):
        raise ValueError("is none of a name, *.name, an IP address or a network, each with :PORT if need be")
    return f".{name}" if below else name
