"""Partners who send files of points, over HTTP: their terms and their keys, and ours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from counterfoil import clock
from counterfoil.api.context import IdempotencyKey, Platform, once
from counterfoil.api.points_answers import Reading, Writing
from counterfoil.api.problems import responses
from counterfoil.db.transactions import Tx, begin, read
from counterfoil.points.files import keys, openpgp, partners, terms_changes
from counterfoil.points.files.keys import PublicKey
from counterfoil.points.files.layouts import Builtin, Layout
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.terms import Terms
from counterfoil.points.files.types import KEY_KINDS, KeyKind, PartnerState
from counterfoil.webhooks.addresses import check, guard

router = APIRouter()

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$", examples=["City Bank"])]
PartnerId = Annotated[
    str,
    Path(description="The partner's short name.", max_length=63, pattern=r"^[^\x00]*$", examples=["bank"]),
]
Fingerprint = Annotated[
    str,
    Query(max_length=200, pattern=r"^[^\x00]*$", description="As the list of keys has it."),
]
LayoutSaid = Annotated[
    Builtin | dict[str, Any],
    Field(description="A layout that comes with the platform, or a document: see docs/layouts.md."),
]


class NewPartner(BaseModel):
    """A partner to be."""

    model_config = ConfigDict(extra="forbid")

    partner_id: str = Field(
        max_length=63,
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="1 to 63 small letters, digits and hyphens.",
        examples=["bank"],
    )
    name: Name
    terms: Terms = Field(examples=[{"sender": "CITYBANK", "receiver": "GROCER"}])
    layout: LayoutSaid = Field(default="delimited", examples=["delimited"])
    first_sequence: Annotated[int, Field(strict=True, ge=1, le=10**12)] = Field(
        default=1, description="The number of the first file that is taken."
    )


class PartnerChange(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    state: PartnerState | None = Field(default=None, description="`closed`: its files are rejected.")
    terms: dict[str, Any] | None = Field(
        default=None,
        description="Terms to change, as a JSON merge patch (RFC 7396): null takes something away.",
        examples=[{"points_max": 50_000, "server": None}],
    )
    layout: LayoutSaid | None = None


class KeyAnswer(BaseModel):
    """A public key: a partner's, or ours."""

    fingerprint: str
    kind: KeyKind
    public_key: str
    added_at: datetime
    retired_at: datetime | None = Field(description="Since when it is not trusted or used any more.")
    expires_at: datetime | None = Field(description="Of an OpenPGP key; null: it does not expire.")
    user_ids: list[str] = Field(description="Of an OpenPGP key: whose it says it is.")


class KeyList(BaseModel):
    """Keys, the newest first."""

    data: list[KeyAnswer]


class NewKey(BaseModel):
    """A public key of a partner."""

    model_config = ConfigDict(extra="forbid")

    kind: KeyKind = Field(description="`openpgp`: what files are signed with; `ssh`: for our drop box.")
    public_key: str = Field(
        min_length=1,
        max_length=100_000,
        pattern=r"^[^\x00]*$",
        description="What `gpg --armor --export` writes, or a line as OpenSSH has it.",
    )


class NewOwnKey(BaseModel):
    """Which key of ours to make."""

    model_config = ConfigDict(extra="forbid")

    kind: KeyKind


class PartnerAnswer(BaseModel):
    """A partner, without any secret."""

    partner_id: str
    name: str
    state: PartnerState
    terms: Terms = Field(description="A secret in them is masked.")
    layout: Layout
    next_sequence: int = Field(description="The number that the next file must have.")
    collected_at: datetime | None = Field(description="When its server was last looked at for files.")
    collect_error: dict[str, Any] | None = Field(description="Why that failed: `code` and `detail`.")
    created_at: datetime
    changed_at: datetime


class PartnerList(BaseModel):
    """All partners, by their short names."""

    data: list[PartnerAnswer]


def _answer(partner: Partner) -> PartnerAnswer:
    return PartnerAnswer(
        partner_id=partner.partner_id,
        name=partner.name,
        state=partner.state,
        terms=terms_changes.masked(partner.terms),
        layout=partner.layout,
        next_sequence=partner.last_sequence + 1,
        collected_at=partner.collected_at,
        collect_error=partner.collect_error,
        created_at=partner.created_at,
        changed_at=partner.changed_at,
    )


def _key(key: PublicKey) -> KeyAnswer:
    facts = openpgp.read_key(key.public_key, now=clock.now()) if key.kind == "openpgp" else None
    return KeyAnswer(
        fingerprint=key.fingerprint,
        kind=key.kind,
        public_key=key.public_key,
        added_at=key.added_at,
        retired_at=key.retired_at,
        expires_at=facts.expires_at if facts else None,
        user_ids=list(facts.user_ids) if facts else [],
    )


async def _allowed(app: Platform, terms: Terms) -> None:
    if terms.outside is not None:
        await check(terms.outside.url, guard=guard(app.settings.webhook_allow))


@router.post(
    "/partners",
    status_code=201,
    response_model=PartnerAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Add a partner",
)
async def add_partner(
    request: Request, body: NewPartner, act: Writing, app: Platform, idempotency_key: IdempotencyKey = None
) -> Response:
    """Keys of our own are made with the first one: `GET /v1/points/own-keys` has what partners need."""
    merchant = act.for_merchant
    layout = terms_changes.read_layout(body.layout)
    await _allowed(app, body.terms)

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        added = await partners.add(
            tx,
            merchant_id=merchant.id,
            partner_id=body.partner_id,
            name=body.name,
            terms=body.terms,
            layout=layout,
            first_sequence=body.first_sequence,
            now=clock.now(),
        )
        await keys.ensure(tx, merchant_id=merchant.id, name=merchant.name, now=clock.now())
        return 201, _answer(added)

    return await once(request, act, idempotency_key, work)


@router.get("/partners", responses=responses(404), summary="List partners")
async def list_partners(act: Reading) -> PartnerList:
    """All of them, by their short names: there are few."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        found = await partners.list_all(tx, merchant_id=merchant_id)
    return PartnerList(data=[_answer(partner) for partner in found])


@router.get("/partners/{partner_id}", responses=responses(404), summary="Get a partner")
async def get_partner(partner_id: PartnerId, act: Reading) -> PartnerAnswer:
    """Its terms, its layout, and which file comes next."""
    merchant_id = act.merchant_id
    async with read(act.engine) as tx:
        return _answer(await partners.get(tx, merchant_id=merchant_id, partner_id=partner_id))


@router.patch("/partners/{partner_id}", responses=responses(400, 404, 409, 413), summary="Change a partner")
async def change_partner(
    partner_id: PartnerId, body: PartnerChange, act: Writing, app: Platform
) -> PartnerAnswer:
    """A secret in the terms stays as long as it is left out, or sent as it is shown.

    Files that are at work go on with the terms that they began with.
    """
    which: dict[str, Any] = {"merchant_id": act.merchant_id, "partner_id": partner_id}
    layout = None if body.layout is None else terms_changes.read_layout(body.layout)
    async with read(act.engine) as snapshot:
        found = await partners.get(snapshot, **which)
    if body.terms is not None:
        await _allowed(app, terms_changes.change_terms(found.terms, body.terms))
    async with begin(act.engine) as tx:
        current = await partners.lock(tx, **which)
        terms = None if body.terms is None else terms_changes.change_terms(current.terms, body.terms)
        changed = await partners.change(
            tx, **which, name=body.name, state=body.state, terms=terms, layout=layout, now=clock.now()
        )
    return _answer(changed)


@router.post(
    "/partners/{partner_id}/keys",
    status_code=201,
    response_model=KeyAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Pin a partner's key",
)
async def add_key(
    request: Request,
    partner_id: PartnerId,
    body: NewKey,
    act: Writing,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Compare its fingerprint with the partner over another way. The same key again changes nothing."""
    which: dict[str, Any] = {"merchant_id": act.merchant_id, "partner_id": partner_id}

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        await partners.get(tx, **which)
        added = await keys.add(tx, **which, kind=body.kind, text=body.public_key, now=clock.now())
        return 201, _key(added)

    return await once(request, act, idempotency_key, work)


@router.get("/partners/{partner_id}/keys", responses=responses(404), summary="List a partner's keys")
async def list_keys(partner_id: PartnerId, act: Reading) -> KeyList:
    """Those that are trusted and those that were, the newest first."""
    which: dict[str, Any] = {"merchant_id": act.merchant_id, "partner_id": partner_id}
    async with read(act.engine) as tx:
        await partners.get(tx, **which)
        return KeyList(data=[_key(key) for key in await keys.list_of(tx, **which)])


@router.delete("/partners/{partner_id}/keys", responses=responses(404), summary="Retire a partner's key")
async def retire_key(partner_id: PartnerId, fingerprint: Fingerprint, act: Writing) -> KeyAnswer:
    """Nothing that is signed with it is taken from now on. Pinned again, it is trusted again."""
    which: dict[str, Any] = {"merchant_id": act.merchant_id, "partner_id": partner_id}
    async with begin(act.engine) as tx:
        await partners.get(tx, **which)
        retired = await keys.retire(tx, **which, fingerprint=fingerprint, now=clock.now())
    return _key(retired)


def _one_of(found: list[PublicKey], fingerprint: str) -> KeyAnswer:
    return _key(next(key for key in found if key.fingerprint == fingerprint))


@router.get("/own-keys", responses=responses(404), summary="List our keys")
async def list_own_keys(act: Reading) -> KeyList:
    """Their public parts: partners encrypt to the newest `openpgp` key, and let the newest `ssh` key in.

    The first of them are made when they are asked for, or with the first partner.
    """
    merchant = act.for_merchant
    async with read(act.engine) as snapshot:
        found = await keys.list_own(snapshot, merchant_id=merchant.id)
    if {key.kind for key in found if key.retired_at is None} != set(KEY_KINDS):
        async with begin(act.engine) as tx:
            await keys.ensure(tx, merchant_id=merchant.id, name=merchant.name, now=clock.now())
            found = await keys.list_own(tx, merchant_id=merchant.id)
    return KeyList(data=[_key(key) for key in found])


@router.post(
    "/own-keys",
    status_code=201,
    response_model=KeyAnswer,
    responses=responses(400, 404, 409, 413),
    summary="Make a new key of ours",
)
async def make_own_key(
    request: Request, body: NewOwnKey, act: Writing, idempotency_key: IdempotencyKey = None
) -> Response:
    """It signs from now on; those before still open what was encrypted to them, until they are retired."""
    merchant = act.for_merchant

    async def work(tx: Tx) -> tuple[int, BaseModel]:
        made = await keys.make(
            tx, merchant_id=merchant.id, kind=body.kind, name=merchant.name, now=clock.now()
        )
        return 201, _one_of(await keys.list_own(tx, merchant_id=merchant.id), made.fingerprint)

    return await once(request, act, idempotency_key, work)


@router.delete("/own-keys", responses=responses(404, 409), summary="Retire a key of ours")
async def retire_own_key(fingerprint: Fingerprint, act: Writing) -> KeyAnswer:
    """What is encrypted to it cannot be opened any more. The last one of its kind stays."""
    merchant_id = act.merchant_id
    async with begin(act.engine) as tx:
        await keys.retire_own(tx, merchant_id=merchant_id, fingerprint=fingerprint, now=clock.now())
        found = await keys.list_own(tx, merchant_id=merchant_id)
    return _one_of(found, fingerprint)
