"""A partner's page: how it stands, what was agreed, its keys and ours, and whether its server answers."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from counterfoil.dashboard import points_file_labels, points_partner_labels
from counterfoil.dashboard.forms import UnusableFormError
from counterfoil.dashboard.points_partner_fields import layout_name
from counterfoil.dashboard.points_partner_form import address_of
from counterfoil.dashboard.points_partners import PartnerShown, file_id, last_file, shown_key
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import begin, read
from counterfoil.errors import InvalidError, NotFoundError
from counterfoil.points.files import keys, partners, probing
from counterfoil.points.files.probing import Probe
from counterfoil.points.files.types import KEY_KINDS, KeyKind
from counterfoil.webhooks.addresses import guard

LONGEST_KEY: Final = 100_000
LARGEST: Final = 256 * 1024
"""Of the form: keys with many signatures are long."""


def _which(visit: Visit) -> dict[str, Any]:
    return {"merchant_id": visit.merchant.id, "partner_id": visit.request.path_params["partner_id"]}


async def show(
    visit: Visit,
    *,
    problem: tuple[str, str] | None = None,
    tried: Probe | None = None,
    status: int = 200,
) -> Response:
    """The page; `problem`: a form that was refused and the code of the reason; `tried`: what a test found."""
    async with read(visit.engine) as tx:
        partner = await partners.get(tx, **_which(visit))
        pinned = await keys.list_of(tx, **_which(visit))
        last = await last_file(tx, partner)
        own = {kind: await keys.own(tx, merchant_id=visit.merchant.id, kind=kind) for kind in KEY_KINDS}
    return visit.render(
        "points_partner.html",
        status=status,
        shown=PartnerShown(partner, last, [shown_key(key, visit.now) for key in pinned]),
        partner=partner,
        layout=layout_name(partner.layout),
        own=own,
        here=address_of(visit, partner.partner_id),
        file_id=file_id,
        problem=problem,
        tried=tried,
        dropbox=visit.app.settings.dropbox_port,
        form=visit.form,
        done=visit.argument("done") if visit.argument("done") in points_partner_labels.DONE else "",
        of_partners=points_partner_labels,
        of_files=points_file_labels,
        section="points",
    )


async def act(visit: Visit) -> Response:
    """One of the forms of the page. What is refused is said above it, and nothing typed is lost."""
    wanted = visit.form.get("do", "")
    if wanted == "test":
        return await show(visit, tried=await _try(visit))
    verbs = {"key": _add_key, "retire": _retire, "make": _make, "close": _close, "open": _open}
    if wanted not in verbs:
        raise InvalidError("This is not a form of these pages.", code="form_invalid")
    try:
        done = await verbs[wanted](visit)
    except UnusableFormError as error:
        return await show(visit, problem=(wanted, str(error)), status=422)
    except InvalidError as error:
        if error.code not in points_partner_labels.PROBLEMS:
            raise
        return await show(visit, problem=(wanted, error.code), status=error.http_status)
    return RedirectResponse(f"{address_of(visit, _which(visit)['partner_id'])}?done={done}", status_code=303)


async def _try(visit: Visit) -> Probe:
    """Try out all that the next file will need: over the network, and so outside of any transaction."""
    async with read(visit.engine) as tx:
        partner = await partners.get(tx, **_which(visit))
        pinned = await keys.list_of(tx, **_which(visit))
        own = [
            key for kind in KEY_KINDS for key in await keys.own(tx, merchant_id=visit.merchant.id, kind=kind)
        ]
    allowed = guard(visit.app.settings.webhook_allow)
    return await probing.probe(partner, own=own, pinned=pinned, guard=allowed, now=visit.now)


def _kind(visit: Visit) -> KeyKind:
    for kind in KEY_KINDS:
        if visit.form.get("kind") == kind:
            return kind
    raise InvalidError("This is not a form of these pages.", code="form_invalid")


async def _add_key(visit: Visit) -> str:
    text = visit.form.get("key", "").strip()
    if not text:
        raise UnusableFormError("key_missing")
    kind: KeyKind = "openpgp" if text.startswith("-----BEGIN PGP") else "ssh"
    if kind == "ssh" and not text.startswith(("ssh-", "ecdsa-", "sk-")):
        raise UnusableFormError("key_unreadable")
    if len(text) > LONGEST_KEY:
        raise UnusableFormError("key_unreadable" if kind == "openpgp" else "ssh_key_invalid")
    async with begin(visit.engine) as tx:
        await partners.get(tx, **_which(visit))
        await keys.add(tx, **_which(visit), kind=kind, text=text, now=visit.now)
    return "key"


async def _retire(visit: Visit) -> str:
    async with begin(visit.engine) as tx:
        await keys.retire(
            tx, **_which(visit), fingerprint=visit.form.get("fingerprint", "")[:200], now=visit.now
        )
    return "retired"


async def _make(visit: Visit) -> str:
    async with begin(visit.engine) as tx:
        await partners.get(tx, **_which(visit))
        await keys.make(
            tx, merchant_id=visit.merchant.id, kind=_kind(visit), name=visit.merchant.name, now=visit.now
        )
    return "made"


async def _close(visit: Visit) -> str:
    if "sure" not in visit.form:
        raise UnusableFormError("not_confirmed")
    async with begin(visit.engine) as tx:
        await partners.change(tx, **_which(visit), state="closed", now=visit.now)
    return "closed"


async def _open(visit: Visit) -> str:
    async with begin(visit.engine) as tx:
        await partners.change(tx, **_which(visit), state="open", now=visit.now)
    return "opened"


async def own_key(visit: Visit) -> Response:
    """Our public key of a kind, to be given to partners."""
    kind = next((k for k in KEY_KINDS if k == visit.request.path_params["kind"]), None)
    found = []
    if kind is not None:
        async with read(visit.engine) as tx:
            found = await keys.own(tx, merchant_id=visit.merchant.id, kind=kind)
    if kind is None or not found:
        raise NotFoundError("There is no such key.", code="own_key_not_found")
    name = points_partner_labels.OWN_KEY_FILES[kind]
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(found[0].public_key.strip() + "\n", media_type="text/plain", headers=headers)
