"""Which hosts and addresses an image may be fetched from."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence

# what begins like a number is a number to some resolvers: 0x7f.1, 017700000001, 2130706433
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_HOST = re.compile(r"\.?[a-z0-9_\-]+(\.[a-z0-9_\-]+)*|[0-9a-f:.]+")

# addresses that contain an IPv4 address: how many bits stand behind it, by network
_EMBEDDED = (
    (ipaddress.ip_network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.ip_network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 2765
    (ipaddress.ip_network("::/96"), 0),  # IPv4-compatible
    (ipaddress.ip_network("64:ff9b::/96"), 0),  # NAT64, RFC 6052
    (ipaddress.ip_network("2002::/16"), 80),  # 6to4
)
# public by their number, and yet inside: protocol assignments (which Python knows from 3.13 on), Azure's host, 6to4
# relays; local-use NAT64 (RFC 8215), Teredo, site-local
_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "64:ff9b:1::/48", "2001::/32", "fec0::/10")
)


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet: no loopback, link-local, private, shared, multicast one.

    An IPv6 address that contains an IPv4 address (mapped, NAT64, 6to4) is what that one is.

    Args:
        address: As numbers, `93.184.216.34` or `2606:2800::1`.

    Raises:
        ValueError: It is no address.
    """
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return False
        for network, behind in _EMBEDDED:
            if found in network:
                return is_public(str(ipaddress.IPv4Address(int(found) >> behind & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast and not any(found in network for network in _INSIDE)


def literal(host: str) -> str | None:
    """The address that a host is, if it is no name.

    Args:
        host: A URL's host, without brackets.

    Raises:
        ValueError: It is an address in a spelling that resolvers read differently: decimal, octal, shortened.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise ValueError("an address that is not spelled in the usual way") from None
        return None


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, in the resolver's order.

    Raises:
        OSError: The host has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


def check_host(host: str) -> str:
    """A host as a policy names it, in lower case.

    Raises:
        ValueError: It holds something else: a scheme, a port, a path.
    """
    if not _HOST.fullmatch(lower := host.lower()):
        raise ValueError(f"expected hosts such as images.example.com, or .example.com with all below it, found {host}")
    return lower


def covers(allowed: str, host: str) -> bool:
    """Whether an entry of a list of hosts allows a host or another entry.

    Args:
        allowed: `images.example.com`, or `.example.com`: that and all below it.
        host: The other one, in lower case.
    """
    return allowed == host or (allowed.startswith(".") and (host.endswith(allowed) or host == allowed[1:]))


def both_hosts(first: Sequence[str] | None, second: Sequence[str] | None) -> tuple[str, ...] | None:
    """The hosts that two lists allow; None allows all."""
    if first is None or second is None:
        found = second if first is None else first
        return None if found is None else tuple(found)
    inner = [a if covers(b, a) else b for a in first for b in second if covers(b, a) or covers(a, b)]
    return tuple(dict.fromkeys(inner))
