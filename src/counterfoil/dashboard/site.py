"""The pages as one ASGI application."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from counterfoil.app import App
from counterfoil.dashboard import (
    analyses,
    breaks,
    campaign,
    campaign_codes,
    campaign_form,
    campaign_list,
    campaign_run,
    merchants,
    overview,
    points,
    points_actions,
    points_file,
    points_files,
    points_member,
    points_partner,
    points_partner_form,
    points_partners,
    points_program,
    preferences,
    sign_in,
    voucher,
    voucher_actions,
    voucher_list,
    webhook_deliveries,
    webhooks,
)
from counterfoil.dashboard.campaign import or_recorded
from counterfoil.dashboard.headers import HeadersMiddleware
from counterfoil.dashboard.visits import error_page, page
from counterfoil.points.files.files import MOST_BYTES

STATIC: Final = Path(__file__).parent / "static"
_GET, _POST = ["GET"], ["POST"]
_TERMS: Final[dict[str, Any]] = {"largest": campaign_form.LARGEST, "most_fields": campaign_form.MOST_FIELDS}
_PARTNER: Final[dict[str, Any]] = {
    "largest": points_partner_form.LARGEST,
    "most_fields": points_partner_form.MOST_FIELDS,
}
_CODES: Final[dict[str, Any]] = {"largest": campaign_run.LARGEST, "files": True}


def create_pages(app: App) -> Starlette:
    """The pages over an opened platform: mount them at `/`."""
    routes = [
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        Route("/sign-in", page(sign_in.show, signed_in=False), methods=_GET),
        Route("/sign-in", page(sign_in.submit, signed_in=False), methods=_POST),
        Route("/sign-out", page(sign_in.sign_out), methods=_POST),
        Route("/preferences", page(preferences.submit, signed_in=False), methods=_POST),
        Route("/", page(merchants.choose), methods=_GET),
        Route("/m/{merchant}", page(overview.show), methods=_GET),
        Route("/m/{merchant}/analyses", page(analyses.submit), methods=_POST),
        Route("/m/{merchant}/jobs/{job_id}", page(analyses.show), methods=_GET),
        Route("/m/{merchant}/jobs/{job_id}/events", page(analyses.events), methods=_GET),
        *_campaign_routes(),
        Route("/m/{merchant}/vouchers", page(voucher_list.show), methods=_GET),
        Route("/m/{merchant}/vouchers/{voucher_id:path}", page(voucher.show), methods=_GET),
        Route(
            "/m/{merchant}/vouchers/{voucher_id:path}",
            page(voucher_actions.act, most_fields=600),
            methods=_POST,
        ),
        *_points_routes(),
        *_partner_routes(),
        Route("/m/{merchant}/breaks", page(breaks.show), methods=_GET),
        Route("/m/{merchant}/webhooks", page(webhooks.show), methods=_GET),
        Route("/m/{merchant}/webhooks", page(webhooks.add), methods=_POST),
        Route("/m/{merchant}/webhooks/deliveries", page(webhook_deliveries.show), methods=_GET),
        Route(
            "/m/{merchant}/webhooks/deliveries/{delivery_id}", page(webhook_deliveries.detail), methods=_GET
        ),
        Route(
            "/m/{merchant}/webhooks/deliveries/{delivery_id}", page(webhook_deliveries.replay), methods=_POST
        ),
        Route("/m/{merchant}/webhooks/{endpoint_id}", page(webhooks.act), methods=_POST),
    ]
    pages = Starlette(
        routes=routes,
        middleware=[Middleware(HeadersMiddleware)],
        exception_handlers={HTTPException: _no_page},
    )
    pages.state.platform = app
    # Each check of a password takes much time and memory, on purpose: strangers must not have many at once.
    pages.state.password_checks = asyncio.Semaphore(2)
    return pages


def _campaign_routes() -> list[Route]:
    return [
        Route("/m/{merchant}/campaigns", page(campaign_list.show), methods=_GET),
        Route("/m/{merchant}/new-campaign", page(campaign_form.new), methods=_GET),
        Route("/m/{merchant}/new-campaign", page(campaign_form.create, **_TERMS), methods=_POST),
        Route(
            "/m/{merchant}/campaigns/{campaign_id}/edit",
            page(or_recorded(campaign_form.edit, "/edit")),
            methods=_GET,
        ),
        Route(
            "/m/{merchant}/campaigns/{campaign_id}/edit", page(campaign_form.change, **_TERMS), methods=_POST
        ),
        Route(
            "/m/{merchant}/campaigns/{campaign_id}/counters",
            page(or_recorded(campaign_run.counters, "/counters")),
            methods=_GET,
        ),
        Route(
            "/m/{merchant}/campaigns/{campaign_id}/codes.csv",
            page(or_recorded(campaign_codes.export, "/codes.csv")),
            methods=_GET,
        ),
        Route("/m/{merchant}/campaigns/{campaign_id:path}", page(campaign.show), methods=_GET),
        Route("/m/{merchant}/campaigns/{campaign_id}", page(campaign_run.act, **_CODES), methods=_POST),
    ]


def _points_routes() -> list[Route]:
    member = "/m/{merchant}/points/members/{customer_id:path}"
    return [
        Route("/m/{merchant}/points", page(points.show), methods=_GET),
        Route("/m/{merchant}/points", page(points.open_accounts, largest=points.LARGEST), methods=_POST),
        Route("/m/{merchant}/points/program", page(points_program.show), methods=_GET),
        Route("/m/{merchant}/points/program", page(points_program.change), methods=_POST),
        Route(member, page(points_member.show), methods=_GET),
        Route(member, page(points_actions.act), methods=_POST),
    ]


def _partner_routes() -> list[Route]:
    partner = "/m/{merchant}/points/partners/{partner_id}"
    file = "/m/{merchant}/points/files/{file_id}"
    return [
        Route("/m/{merchant}/points/partners", page(points_partners.show), methods=_GET),
        Route("/m/{merchant}/points/new-partner", page(points_partner_form.new), methods=_GET),
        Route(
            "/m/{merchant}/points/new-partner", page(points_partner_form.create, **_PARTNER), methods=_POST
        ),
        Route(partner, page(points_partner.show), methods=_GET),
        Route(partner, page(points_partner.act, largest=points_partner.LARGEST), methods=_POST),
        Route(f"{partner}/edit", page(points_partner_form.edit), methods=_GET),
        Route(f"{partner}/edit", page(points_partner_form.change, **_PARTNER), methods=_POST),
        Route("/m/{merchant}/points/own-keys/{kind}", page(points_partner.own_key), methods=_GET),
        Route("/m/{merchant}/points/files", page(points_files.show), methods=_GET),
        Route("/m/{merchant}/points/files", page(points_files.upload, uploads=MOST_BYTES), methods=_POST),
        Route(file, page(points_file.show), methods=_GET),
        Route(file, page(points_file.confirm), methods=_POST),
        Route(f"{file}/progress", page(points_file.progress), methods=_GET),
        Route(f"{file}/response", page(points_file.response), methods=_GET),
        Route(f"{file}/content", page(points_file.content), methods=_GET),
    ]


async def _no_page(request: Request, error: Exception) -> Response:
    """Unknown addresses and wrong methods, in the design of the pages."""
    assert isinstance(error, HTTPException)
    return error_page(request, status=error.status_code, headers=error.headers)
