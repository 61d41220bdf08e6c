"""Trying out a partner before its first file: its keys, sealing to it, its server, its outside system.

The network and a child process, but no transaction. What is wrong is told, not raised: all of it at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import asyncssh

from counterfoil.errors import CounterfoilError
from counterfoil.points.files import openpgp, sftp
from counterfoil.points.files.keys import OwnKey, PublicKey
from counterfoil.points.files.openpgp_policy import OpenPgpError
from counterfoil.points.files.outside import Outside
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.remote_files import Ignored, Remote
from counterfoil.points.files.sftp import Connection, Server
from counterfoil.points.files.sftp_errors import SftpError, asking
from counterfoil.webhooks.addresses import Guard, addresses_of, parse

Name = Literal["own_key", "partner_key", "seal", "server", "incoming", "responses", "done", "outside"]
SOON: Final = timedelta(days=30)
"""A key that expires within this time is told of."""
CONNECT_SECONDS: Final = 15
WHOLE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. `code`: why it failed; None: it works."""

    name: Name
    code: str | None
    detail: str

    @property
    def ok(self) -> bool:
        """Whether it works."""
        return self.code is None


@dataclass(slots=True)
class Probe:
    """All that was tried, and what waits on the partner's server."""

    checks: list[Check] = field(default_factory=list)
    waiting: list[Remote] = field(default_factory=list)
    """Whole files that will be collected, oldest first."""
    ignored: list[Ignored] = field(default_factory=list)
    """Files that are left where they are, and why."""

    @property
    def ok(self) -> bool:
        """Whether files can come and be answered."""
        return all(check.ok for check in self.checks)

    def tell(self, name: Name, detail: str, code: str | None = None) -> None:
        """Note what came of a check."""
        self.checks.append(Check(name, code, detail))


async def probe(
    partner: Partner, *, own: Sequence[OwnKey], pinned: Sequence[PublicKey], guard: Guard, now: datetime
) -> Probe:
    """Try out all that the next file of a partner will need. Nothing is sent but a connection is made.

    `own` are our keys that are in use, of both kinds, the newest first; `pinned` all keys of the partner.
    """
    found = Probe()
    ours = next((key for key in own if key.kind == "openpgp"), None)
    if ours is None:
        found.tell("own_key", "We have no OpenPGP key; make one.", "own_key_missing")
    else:
        found.tell("own_key", f"Files are to be encrypted to our key {ours.fingerprint}.")
    theirs = _partner_keys(found, pinned, now)
    if ours is not None and theirs:
        await _seal(found, ours, theirs[0], now)
    if partner.terms.server is not None:
        client = next((key for key in own if key.kind == "ssh"), None)
        await _server(found, partner.terms.server, client, guard)
    if partner.terms.outside is not None:
        await _outside(found, partner.terms.outside, guard)
    return found


def _partner_keys(found: Probe, pinned: Sequence[PublicKey], now: datetime) -> list[PublicKey]:
    """The partner's OpenPGP keys that are trusted; each is told of."""
    trusted = [key for key in pinned if key.kind == "openpgp" and key.retired_at is None]
    if not trusted:
        found.tell("partner_key", "No OpenPGP key of the partner is pinned; add it.", "partner_key_missing")
    for key in trusted:
        try:
            facts = openpgp.read_key(key.public_key, now=now)
            openpgp.check_key(facts, now=now)
        except CounterfoilError as error:
            found.tell("partner_key", error.detail, error.code)
            continue
        until = "does not expire"
        if facts.expires_at is not None:
            soon = facts.expires_at - now < SOON
            until = f"expires at {facts.expires_at:%Y-%m-%d %H:%M} UTC{', which is soon' if soon else ''}"
        found.tell("partner_key", f"Key {key.fingerprint} ({facts.algorithm}) is pinned and {until}.")
    return trusted


async def _seal(found: Probe, ours: OwnKey, theirs: PublicKey, now: datetime) -> None:
    with tempfile.TemporaryDirectory(prefix="counterfoil-probe-") as directory:
        plain = Path(directory) / "plain"
        plain.write_bytes(b"A test of our keys.\n")
        try:
            await openpgp.seal_message(
                plain,
                Path(directory) / "sealed",
                own_key=ours.secret_key,
                recipient=theirs.public_key,
                now=now,
            )
        except OpenPgpError as error:
            found.tell("seal", error.detail, error.code)
            return
    found.tell("seal", f"A message was signed by us and encrypted to {theirs.fingerprint}.")


async def _server(found: Probe, server: Server, client: OwnKey | None, guard: Guard) -> None:
    if client is None:
        found.tell("server", "We have no key to sign in with; make one.", "own_key_missing")
        return
    try:
        async with sftp.connect(
            server,
            client_key=client.secret_key,
            guard=guard,
            timeout_seconds=CONNECT_SECONDS,
            whole_seconds=WHOLE_SECONDS,
        ) as connection:
            where = f"{server.host}:{server.port}"
            found.tell("server", f"{where} shows a pinned host key and lets us in as {server.user}.")
            await _directories(found, connection, server)
    except CounterfoilError as error:
        found.tell("server", error.detail, error.code)


async def _directories(found: Probe, connection: Connection, server: Server) -> None:
    try:
        listing = await sftp.look(connection, server)
        found.waiting, found.ignored = listing.whole, listing.ignored
        told = f"{len(listing.whole)} whole files wait in {server.incoming}, {len(listing.ignored)} are left."
        found.tell("incoming", told)
    except SftpError as error:
        found.tell("incoming", error.detail, error.code)
    places: list[tuple[Name, str | None]] = [("responses", server.responses), ("done", server.done)]
    for name, path in places:
        if path is None:
            continue
        try:
            with asking(f"to find the directory `{path}`"):
                if not await connection.files.isdir(path):
                    raise asyncssh.SFTPNoSuchFile("no directory")
            found.tell(name, f"The directory {path} is there.")
        except SftpError as error:
            found.tell(name, error.detail, error.code)


async def _outside(found: Probe, outside: Outside, guard: Guard) -> None:
    url = parse(outside.url)
    try:
        await addresses_of(url, guard=guard)
    except CounterfoilError as error:
        found.tell("outside", error.detail, error.code)
    except (OSError, UnicodeError) as error:
        found.tell("outside", f"The name of {url.host} cannot be resolved: {error}", "outside_unreachable")
    else:
        found.tell("outside", f"{url.host} has an address to which credits may be sent.")
