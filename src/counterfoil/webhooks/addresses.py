"""The guard: a customer's URL must not lead into our own network.

The host is resolved once, every address is checked, and the connection goes to a checked address itself:
a name that answers otherwise the next moment gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final

import httpx

from counterfoil.errors import FieldError, InvalidError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]

LONGEST_URL: Final = 2000
_HOST: Final = re.compile(rb"[A-Za-z0-9._-]{1,253}|[0-9a-fA-F:.]+")
"""A name as DNS has it (others come as punycode), or an IPv6 address without a zone."""
_RESOLVERS: Final = 32
"""Names that are looked up at once: a name server that does not answer must not hold up other names."""

_FORBIDDEN_V4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Not private by any registry: a cloud's metadata, for the machines of that cloud only.
        "168.63.129.16/32",
    )
)
_GLOBAL_V6: Final = ipaddress.IPv6Network("2000::/3")
"""Whatever is outside is not the public internet: loopback, local, multicast, mapped IPv4, NAT64."""
_FORBIDDEN_V6: Final = tuple(
    ipaddress.IPv6Network(text)
    # Special purposes (Teredo among them), documentation twice, 6to4.
    for text in ("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16")
)


@cache
def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="webhook-names")


async def system_resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as this machine knows them. `OSError` if it knows none."""

    def ask() -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))

    return await asyncio.get_running_loop().run_in_executor(_resolvers(), ask)


@dataclass(frozen=True, slots=True)
class Guard:
    """What may be connected to besides the public internet, and how names are resolved."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()
    resolve: Resolve = system_resolve


PUBLIC: Final = Guard()
"""The public internet only."""


def guard(allow: str | None) -> Guard:
    """The guard of the setting `webhook_allow`: networks, addresses and host names, with commas between."""
    networks: list[Network] = []
    names = set()
    for entry in (part.strip() for part in (allow or "").split(",")):
        try:
            networks += [ipaddress.ip_network(entry, strict=False)] if entry else []
        except ValueError:
            names.add(entry.lower())
    return Guard(tuple(networks), frozenset(names))


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and of nothing that can be private behind it."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _FORBIDDEN_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _FORBIDDEN_V6)


def _forbidden(detail: str) -> InvalidError:
    problem = FieldError("/url", "webhook_url_forbidden", detail)
    return InvalidError(detail, code="webhook_url_forbidden", errors=(problem,))


def parse(url: str) -> httpx.URL:
    """A URL to which webhooks could be sent; `InvalidError` for what is none, or has a password in it."""
    try:
        parsed = httpx.URL(url)
        host, port = parsed.raw_host, parsed.port
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise _forbidden("This is not a URL.") from error
    if parsed.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or len(url) > LONGEST_URL:
        raise _forbidden("Use a URL that begins with https:// or http:// and a host.")
    if port is not None and not 0 < port < 65536:
        raise _forbidden("There is no such port.")
    if parsed.userinfo:
        raise _forbidden("Leave user and password out: the signature says who sends.")
    return parsed


async def addresses_of(url: httpx.URL, *, guard: Guard) -> list[str]:
    """The addresses to connect to, all of them allowed; `InvalidError` if one is not.

    `OSError` where the name cannot be resolved. The error does not say which address it was: nobody
    shall learn the names of our own network from it.
    """
    host = url.raw_host.decode("ascii").strip("[]")
    found = await allowed(host, url.port or (443 if url.scheme == "https" else 80), guard=guard)
    if found is None:
        raise _forbidden("The host has an address that is not one of the public internet.")
    return found


async def allowed(host: str, port: int, *, guard: Guard) -> list[str] | None:
    """The addresses of a host, if all of them are allowed; None if one is not. `OSError`: there are none."""
    found = await guard.resolve(host, port)
    if host.lower() not in guard.names:
        for address in map(ipaddress.ip_address, found):
            if not is_public(address) and not any(address in network for network in guard.networks):
                return None
    return found


async def check(url: str, *, guard: Guard) -> None:
    """`InvalidError` for a URL that must not be an endpoint's. It asks the network: not in a transaction.

    A name that cannot be resolved now is let through: every sending checks again.
    """
    parsed = parse(url)
    try:
        async with asyncio.timeout(5):
            await addresses_of(parsed, guard=guard)
    except (OSError, UnicodeError):  # a timeout is an OSError
        return
