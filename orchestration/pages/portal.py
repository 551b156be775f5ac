"""The reference portal: shows a customer its own gauge, for a short-lived signed session.

It needs the extra ``portal``. What a real portal does beyond it is in docs/portal.md.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import quote

import uvicorn
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestration.errors import NotDone, PlainError
from orchestration.pages.build import PAGE, POLICY, READ_MODEL
from orchestration.pages.gauge_page import STALE_HIDDEN, STALE_SHOWN
from orchestration.pages.names import page_name, session_secret
from orchestration.pages.read_models import Gauge
from orchestration.settings import Settings

NOBODY = "'none'"
_SALT = "gauge-session"
_CUSTOMERS_NAMED = 5
_WELCOME = (
    "This portal shows a customer its gauge, by a link that works for some minutes. "
    "Make one with: gpu-credits portal link CUSTOMER\n"
)

Clock = Callable[[], datetime]


class NoPages(NotDone):
    """There is nothing to serve yet."""


class NoSuchCustomer(PlainError):
    """A gauge was asked for of a customer that has none."""


def session_token(settings: Settings, customer_id: str) -> str:
    """A signed session of one customer, made on the server for whoever has logged in as it.

    It works for PORTAL_SESSION_MINUTES and opens this customer's gauge, nothing else.
    """
    token = _signer(settings).dumps(customer_id)
    return token if isinstance(token, str) else token.decode("ascii")


def gauge_path(customer_id: str) -> str:
    """Where the portal shows a customer's gauge."""
    return f"/customers/{quote(customer_id, safe='')}/gauge"


def portal(settings: Settings, clock: Clock = lambda: datetime.now(UTC)) -> Starlette:
    """The ASGI application.

    Args:
        settings: where the pages are, who may embed them, how long a session lasts.
        clock: says whether figures are out of date.
    """

    def page(request: Request) -> Response:
        return _for_session(settings, request, PAGE, lambda found: _page(found, clock()))

    def read_model(request: Request) -> Response:
        return _for_session(settings, request, READ_MODEL, lambda found: _model(found, clock()))

    def root(_: Request) -> Response:
        return PlainTextResponse(_WELCOME)

    # An id may hold a slash; the longer path comes first.
    return Starlette(
        routes=[
            Route("/", root),
            Route("/customers/{customer_id:path}/gauge.json", read_model),
            Route("/customers/{customer_id:path}/gauge", page),
        ],
        middleware=[Middleware(_Headers, settings=settings)],
    )


def _for_session(
    settings: Settings, request: Request, file: str, answer: Callable[[Path], Response]
) -> Response:
    """Answer for the customer that the session is of: 401 without one, 404 for any other page.

    Whether another customer exists is not told.
    """
    customer = _customer_of(settings, request)
    if customer is None:
        return PlainTextResponse(
            "The session has expired or is not valid. Open this page from the portal again.\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
    # Resolved once per request: the next set of pages may be switched to at any time.
    found = (settings.pages_dir / "current").resolve() / page_name(settings, customer) / file
    if customer != request.path_params["customer_id"] or not found.is_file():
        return PlainTextResponse("There is no such gauge.\n", status_code=404)
    return answer(found)


def _customer_of(settings: Settings, request: Request) -> str | None:
    """The customer that a request's session is of; None when it has none that is valid."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    token = given if scheme.lower() == "bearer" else request.query_params.get("token", "")
    try:
        customer = _signer(settings).loads(token, max_age=settings.portal_session_minutes * 60)
    except BadSignature:  # Expired ones, too.
        return None
    return customer if isinstance(customer, str) else None


def _signer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(session_secret(settings), salt=_SALT)


def _page(found: Path, now: datetime) -> Response:
    text = found.read_text(encoding="utf-8")
    if _is_stale(found.with_name(READ_MODEL), now):
        text = text.replace(STALE_HIDDEN, STALE_SHOWN, 1)
    # The set says what its pages may do; an older set has an older stylesheet.
    policy = (found.parents[1] / POLICY).read_text(encoding="utf-8").strip()
    return Response(
        text,
        media_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": policy},
    )


def _model(found: Path, now: datetime) -> Response:
    gauge = Gauge.model_validate_json(found.read_bytes())
    return JSONResponse(
        {**gauge.model_dump(mode="json"), "is_stale": now > gauge.renewed_by},
    )


def _is_stale(read_model: Path, now: datetime) -> bool:
    return now > Gauge.model_validate_json(read_model.read_bytes()).renewed_by


class _Headers:
    """Adds to every answer, errors too, what keeps it private and where it may be embedded."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._ancestors = f"frame-ancestors {settings.portal_frame_ancestors or NOBODY}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = headers.get("Content-Security-Policy", "default-src 'none'")
                headers["Content-Security-Policy"] = f"{policy}; {self._ancestors}"
                headers["Cache-Control"] = "private, no-store"
                headers["Referrer-Policy"] = "no-referrer"
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Robots-Tag"] = "noindex"
            await send(message)

        await self._app(scope, receive, with_headers)


def serve(settings: Settings, port: int) -> None:
    """Serve the portal on this machine's own address.

    Raises:
        NoPages: nothing is billed yet.
        WrongKey: the key in DATA_DIR is none.
    """
    _current_pages(settings)
    # Without an access log: the session stands in the address.
    uvicorn.run(
        portal(settings), host="127.0.0.1", port=port, server_header=False, access_log=False
    )


def link(settings: Settings, customer: str, port: int) -> str:
    """A link that opens one customer's gauge in the portal of that port.

    Raises:
        NoPages: nothing is billed yet.
        NoSuchCustomer: it has no gauge.
    """
    pages = _current_pages(settings)
    if not (pages / page_name(settings, customer) / READ_MODEL).is_file():
        known = [
            Gauge.model_validate_json(path.read_bytes()).customer_id
            for path in pages.glob(f"*/{READ_MODEL}")
        ]
        near = get_close_matches(customer, known)
        some = sorted(known)[:_CUSTOMERS_NAMED]
        others = ", ..." if len(known) > len(some) else ""
        raise NoSuchCustomer(
            f"There is no gauge of a customer {customer!r}"
            + (
                f"; is {' or '.join(near)} meant?"
                if near
                else f", but of {', '.join(some)}{others}."
            )
        )
    token = session_token(settings, customer)
    return f"http://127.0.0.1:{port}{gauge_path(customer)}?token={token}"


def _current_pages(settings: Settings) -> Path:
    pages = settings.pages_dir / "current"
    if not pages.exists():
        raise NoPages(f"There are no pages in {pages.parent} yet; bill first.")
    return pages.resolve()
