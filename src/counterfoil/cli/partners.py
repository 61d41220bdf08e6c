"""`counterfoil partners`: who sends files of points, on what terms, and with which keys."""

from __future__ import annotations

import json as json_format
import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from counterfoil import clock
from counterfoil.app import App
from counterfoil.cli.merchant_work import MerchantName, doing, looking, text_of
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db.transactions import ReadTx, Tx, read
from counterfoil.errors import ConflictError, InvalidError
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant
from counterfoil.points.files import keys, openpgp, partners, probing, ssh_keys, terms_changes
from counterfoil.points.files.keys import PublicKey
from counterfoil.points.files.layouts import Layout
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.sftp import scan_host_keys
from counterfoil.points.files.terms import Terms
from counterfoil.points.files.types import KeyKind, PartnerState
from counterfoil.webhooks.addresses import check, guard

app = cyclopts.App(name="partners", help="Partners who send files of points.")

PartnerId = Annotated[str, Parameter(help="The partner's short name.")]
Sequence = Annotated[int, Parameter(validator=Number(gte=1, lte=10**12))]
TermsFile = Annotated[
    Path | None, Parameter(help="A JSON file with terms, as the API takes them; docs/partner-files.md.")
]
LayoutSaid = Annotated[
    str | None, Parameter(help="`delimited`, `fixed` or `csv`, or a TOML or JSON file: docs/layouts.md.")
]
KeyFile = Annotated[Path, Parameter(help="A public key: OpenPGP in ASCII armor, or a line of OpenSSH.")]


@app.command
def add(
    partner_id: PartnerId,
    /,
    *,
    merchant: MerchantName,
    name: str | None = None,
    sender: Annotated[str | None, Parameter(help="What the partner calls itself in its files.")] = None,
    receiver: Annotated[str | None, Parameter(help="What it calls us in its files.")] = None,
    terms: TermsFile = None,
    layout: LayoutSaid = None,
    key: Annotated[Path | None, Parameter(help="Its OpenPGP public key, in ASCII armor.")] = None,
    first_sequence: Sequence = 1,
    json: Json = False,
) -> None:
    """Add a partner. Its files are taken once a key of it is pinned: `--key`, or `partners keys`."""
    said = {**_document(terms), **_given(sender=sender, receiver=receiver)}
    wanted = terms_changes.read_terms(said)
    looks = _layout(layout or "delimited")
    text = None if key is None else text_of(key)
    _allowed(wanted)

    async def work(tx: Tx, owner: Merchant) -> Partner:
        which: dict[str, Any] = {"merchant_id": owner.id, "partner_id": partner_id, "now": clock.now()}
        made = await partners.add(
            tx, **which, name=name or partner_id, terms=wanted, layout=looks, first_sequence=first_sequence
        )
        await keys.ensure(tx, merchant_id=owner.id, name=owner.name, now=clock.now())
        if text is not None:
            await keys.add(tx, **which, kind="openpgp", text=text)
        return made

    show([_row(doing(merchant, work))], as_json=json, title="Partner")


@app.command
def change(
    partner_id: PartnerId,
    /,
    *,
    merchant: MerchantName,
    name: str | None = None,
    state: Annotated[PartnerState | None, Parameter(help="`closed`: its files are rejected.")] = None,
    terms: Annotated[
        Path | None,
        Parameter(help="A JSON file with the terms to change; the others stay, null takes something away."),
    ] = None,
    layout: LayoutSaid = None,
    json: Json = False,
) -> None:
    """Change a partner; what is left out stays."""
    changes = _document(terms)
    looks = None if layout is None else _layout(layout)
    if changes:
        known = looking(merchant, _getter(partner_id))
        _allowed(terms_changes.change_terms(known.terms, changes))

    async def work(tx: Tx, owner: Merchant) -> Partner:
        which: dict[str, Any] = {"merchant_id": owner.id, "partner_id": partner_id}
        current = await partners.lock(tx, **which)
        wanted = terms_changes.change_terms(current.terms, changes) if changes else None
        return await partners.change(
            tx, **which, name=name, state=state, terms=wanted, layout=looks, now=clock.now()
        )

    show([_row(doing(merchant, work))], as_json=json, title="Partner")


@app.command(name="list")
def list_partners(*, merchant: MerchantName, json: Json = False) -> None:
    """List partners."""
    found = looking(merchant, lambda tx, merchant_id: partners.list_all(tx, merchant_id=merchant_id))
    show([_row(partner) for partner in found], as_json=json, title="Partners")


@app.command(name="show")
def show_partner(partner_id: PartnerId, /, *, merchant: MerchantName, json: Json = False) -> None:
    """Show a partner's terms. A secret in them is masked."""
    found = looking(merchant, _getter(partner_id))
    terms = terms_changes.masked(found.terms).model_dump(mode="json")
    if json:
        layout = found.layout.model_dump(mode="json")
        show([{**_row(found), "terms": terms, "layout": layout}], as_json=True)
        return
    rows = [{"what": name, "value": value} for name, value in _row(found).items()]
    rows += [{"what": name, "value": _plain(value)} for name, value in terms.items()]
    show(rows, as_json=False, title=partner_id)


@app.command(name="keys")
def partner_keys(
    partner_id: PartnerId,
    /,
    *,
    merchant: MerchantName,
    pin: Annotated[KeyFile | None, Parameter(name="--add")] = None,
    retire: Annotated[str | None, Parameter(help="The fingerprint of a key to trust no longer.")] = None,
    json: Json = False,
) -> None:
    """List a partner's keys, pin one or retire one."""
    text = None if pin is None else text_of(pin)

    async def work(tx: Tx, owner: Merchant) -> list[PublicKey]:
        which: dict[str, Any] = {"merchant_id": owner.id, "partner_id": partner_id}
        await partners.get(tx, **which)
        if text is not None:
            await keys.add(tx, **which, kind=_kind(text), text=text, now=clock.now())
        if retire is not None:
            await keys.retire(tx, **which, fingerprint=retire, now=clock.now())
        return await keys.list_of(tx, **which)

    show([_key(key, json=json) for key in doing(merchant, work)], as_json=json, title="Keys")


@app.command(name="own-keys")
def own_keys(
    *,
    merchant: MerchantName,
    make: Annotated[KeyKind | None, Parameter(help="Make a new key of this kind.")] = None,
    retire: Annotated[str | None, Parameter(help="The fingerprint of a key to use no longer.")] = None,
    write: Annotated[Path | None, Parameter(help="Write the OpenPGP public key for partners here.")] = None,
    json: Json = False,
) -> None:
    """List our own public keys, which partners need; the first ones are made when they are asked for."""

    async def work(tx: Tx, owner: Merchant) -> list[PublicKey]:
        which: dict[str, Any] = {"merchant_id": owner.id, "now": clock.now()}
        await keys.ensure(tx, **which, name=owner.name)
        if make is not None:
            await keys.make(tx, **which, kind=make, name=owner.name)
        if retire is not None:
            await keys.retire_own(tx, **which, fingerprint=retire)
        return await keys.list_own(tx, merchant_id=owner.id)

    found = doing(merchant, work)
    if write is not None:
        newest = next(key for key in found if key.kind == "openpgp" and key.retired_at is None)
        _write(write, newest.public_key)
        say(f"Our OpenPGP public key is in {write}.")
    show([_key(key, json=json) for key in found], as_json=json, title="Our keys")


@app.command(name="test")
def try_out(partner_id: PartnerId, /, *, merchant: MerchantName, json: Json = False) -> None:
    """Try out a partner's keys, its server and its outside system, and say what waits there."""

    async def run(opened: App) -> probing.Probe:
        async with read(opened.engine) as tx:
            owner = await merchants.get(tx, name=merchant)
            which: dict[str, Any] = {"merchant_id": owner.id, "partner_id": partner_id}
            partner = await partners.get(tx, **which)
            pinned = await keys.list_of(tx, **which)
            own = [
                *await keys.own(tx, merchant_id=owner.id, kind="openpgp"),
                *await keys.own(tx, merchant_id=owner.id, kind="ssh"),
            ]
        around = guard(opened.settings.webhook_allow)
        return await probing.probe(partner, own=own, pinned=pinned, guard=around, now=clock.now())

    found = with_platform(run)
    checks = [{"check": c.name, "ok": c.ok, "code": c.code, "detail": c.detail} for c in found.checks]
    waiting, ignored = [asdict(file) for file in found.waiting], [asdict(file) for file in found.ignored]
    if json:
        show([{"ok": found.ok, "checks": checks, "waiting": waiting, "ignored": ignored}], as_json=True)
    else:
        for title, rows in (("Checks", checks), ("Waiting there", waiting), ("Left there", ignored)):
            if rows:
                show(rows, as_json=False, title=title)
    if not found.ok:
        failed = [check for check in found.checks if not check.ok]
        raise ConflictError(f"{len(failed)} of {len(checks)} checks failed.", code="partner_test_failed")


@app.command(name="host-keys")
def host_keys(
    host: str,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535))] = 22,
    /,
    *,
    json: Json = False,
) -> None:
    """Show the host keys of a server, to compare their fingerprints with the partner over another way."""
    found = with_platform(
        lambda opened: scan_host_keys(host, port, guard=guard(opened.settings.webhook_allow))
    )
    rows = [{"fingerprint": ssh_keys.fingerprint(line), "host_key": line} for line in found]
    show(rows, as_json=json, title="Host keys")


def _getter(partner_id: str) -> Callable[[ReadTx, Any], Awaitable[Partner]]:
    return lambda tx, merchant_id: partners.get(tx, merchant_id=merchant_id, partner_id=partner_id)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _document(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    text = text_of(path)
    try:
        found = tomllib.loads(text) if path.suffix.lower() == ".toml" else json_format.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{path}: cannot be read: {error}", code="file_unreadable") from error
    if not isinstance(found, dict):
        raise InvalidError(f"{path}: a JSON object is wanted.", code="file_unreadable")
    return found


def _layout(said: str) -> Layout:
    is_file = "." in said or "/" in said
    return terms_changes.read_layout(_document(Path(said)) if is_file else said)


def _allowed(terms: Terms) -> None:
    outside = terms.outside
    if outside is None:
        return

    async def run(opened: App) -> None:
        await check(outside.url, guard=guard(opened.settings.webhook_allow))

    with_platform(run)


def _kind(text: str) -> KeyKind:
    return "openpgp" if "-----BEGIN PGP" in text else "ssh"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidError(f"{path}: cannot be written: {error}", code="file_unreadable") from error


def _plain(value: Any) -> Any:
    return json_format.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _row(partner: Partner) -> dict[str, Any]:
    server = partner.terms.server
    return {
        "partner_id": partner.partner_id,
        "name": partner.name,
        "state": partner.state,
        "next_sequence": partner.last_sequence + 1,
        "shape": partner.layout.shape,
        "server": f"{server.host}:{server.port}" if server else None,
        "collected_at": partner.collected_at,
        "collect_error": partner.collect_error and partner.collect_error.get("detail"),
    }


def _key(key: PublicKey, *, json: bool) -> dict[str, Any]:
    facts = openpgp.read_key(key.public_key, now=clock.now()) if key.kind == "openpgp" else None
    return {
        "fingerprint": key.fingerprint,
        "kind": key.kind,
        "added_at": key.added_at,
        "expires_at": facts and facts.expires_at,
        "retired_at": key.retired_at,
        # A line of OpenSSH is to be copied; the other is too long for a table.
        **({"public_key": key.public_key} if json or key.kind == "ssh" else {"public_key": None}),
    }
