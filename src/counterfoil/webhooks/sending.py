"""One attempt to send a message: the network, and no database."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import httpx

from counterfoil.errors import InvalidError
from counterfoil.webhooks import rules
from counterfoil.webhooks.addresses import Guard, addresses_of, parse

TIMEOUT: Final = timedelta(seconds=10)
"""For all of an attempt: looking up the name, connecting, and the answer."""
MOST_READ: Final = 64 * 1024
"""Bytes of an answer that are read, at most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: `status`, or `error` where there was none."""

    status: int | None
    error: str | None
    milliseconds: int
    response: str | None = None
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it: 2xx says so, and nothing else does."""
        return self.status is not None and 200 <= self.status < 300


def new_client(trusted: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """The client of a process, with the certificates that it trusts; by default those of browsers, or of
    `SSL_CERT_FILE`.

    It knows no proxy, no redirects and no cookies. It keeps no connection: one to a checked address must not
    be used again for another name there.
    """
    return httpx.AsyncClient(
        verify=trusted or httpx.create_ssl_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=TIMEOUT.total_seconds(),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        cookies=None,
    )


async def send(
    client: httpx.AsyncClient,
    *,
    url: str,
    text: str,
    headers: Mapping[str, str],
    guard: Guard,
    now: datetime,
    patience: timedelta = TIMEOUT,
) -> Answer:
    """Post a message, and tell how it went. It raises nothing that the receiver could cause."""
    begun = time.perf_counter()
    heard = _Heard()
    error: str | None = None
    try:
        async with asyncio.timeout(patience.total_seconds()):
            await _post(client, parse(url), text.encode(), headers, guard, heard)
    except InvalidError as forbidden:
        error = forbidden.detail
    except (TimeoutError, httpx.TimeoutException):
        error = f"No answer within {patience.total_seconds():g} seconds."
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError, ValueError) as failure:
        error = _told(failure)
    milliseconds = round((time.perf_counter() - begun) * 1000)
    if heard.status is None:
        return Answer(None, error or "No answer.", milliseconds)
    # With a status the receiver has answered, also where its body never ends.
    asked = rules.retry_after(heard.retry_after, now=now)
    return Answer(heard.status, None, milliseconds, heard.excerpt, asked)


@dataclass(slots=True)
class _Heard:
    """What has come of an answer so far."""

    status: int | None = None
    retry_after: str | None = None
    content: bytes = b""

    @property
    def excerpt(self) -> str:
        text = self.content[: 4 * rules.LONGEST_EXCERPT].decode("utf-8", "replace")
        return text.replace("\x00", "\ufffd")[: rules.LONGEST_EXCERPT]


async def _post(
    client: httpx.AsyncClient,
    url: httpx.URL,
    content: bytes,
    headers: Mapping[str, str],
    guard: Guard,
    heard: _Heard,
) -> None:
    found = await addresses_of(url, guard=guard)
    name = url.raw_host.decode("ascii").strip("[]")
    for number, address in enumerate(found, 1):
        # To the checked address itself; the name stays in Host, and in TLS, where the certificate names it.
        request = client.build_request(
            "POST",
            url.copy_with(host=address, fragment=None),
            content=content,
            headers={
                **headers,
                "host": url.netloc.decode("ascii"),
                "accept-encoding": "identity",
                "connection": "close",
            },
            extensions={**_timeouts(len(found)), "sni_hostname": name},
        )
        try:
            response = await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if number == len(found):
                raise
            continue
        await _hear(response, heard)
        return


def _timeouts(addresses: int) -> dict[str, dict[str, float]]:
    """An address that does not answer leaves time for the others."""
    whole = TIMEOUT.total_seconds()
    return {"timeout": {"connect": whole / addresses, "read": whole, "write": whole, "pool": whole}}


async def _hear(response: httpx.Response, heard: _Heard) -> None:
    heard.status = response.status_code
    heard.retry_after = response.headers.get("retry-after")
    try:
        # As it comes: what was compressed is not unpacked, so that it cannot swell.
        async for part in response.aiter_raw():
            heard.content += part[: MOST_READ - len(heard.content)]
            if len(heard.content) >= MOST_READ:
                return
    finally:
        await response.aclose()


def _told(failure: Exception) -> str:
    text = str(failure).replace("\x00", "") or type(failure).__name__
    kind = "The name cannot be resolved" if isinstance(failure, OSError) else "No connection"
    if isinstance(failure, (httpx.RemoteProtocolError, httpx.ReadError)):
        kind = "The answer is not HTTP, or was cut off"
    return f"{kind}: {text}"[:300]
