"""What stands before the Dagster UI: it lets only this machine's own pages ask, and no GET change.

Dagster's server has no login, answers to any name, and runs a mutation that comes as a GET. So any
page in a browser on this machine could start a run by an image's address, or read everything
through a name of its own that suddenly means 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import re

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_READING = ("GET", "HEAD", "OPTIONS")
# What browsers say of a request's source: the page itself, or a person who typed the address.
_OWN_SITE = ("same-origin", "none")
_POLICY_VIOLATION = 1008


class Front:
    """An ASGI application before another one.

    Args:
        app: gets what is not refused, as it came.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse with 403 (who asks) or 405 (what is asked by a GET)."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = _stranger(scope) or _change_by_get(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            # Before it is accepted: the server answers 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await refusal(scope, receive, send)


def _stranger(scope: Scope) -> PlainTextResponse | None:
    """The answer to a request that another name or another page makes."""
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _OWN_HOST.fullmatch(hosts[0]):
        return PlainTextResponse("Ask for 127.0.0.1 or localhost, and nothing else\n", 403)
    own = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
    if any(origin.lower() not in own for origin in headers.getlist("origin")):
        return PlainTextResponse("Another page asks; only the UI's own may\n", 403)
    # A link on another page may lead to the UI; what it may not is send something there.
    follows_link = scope["type"] == "http" and scope["method"] in _READING
    sites = headers.getlist("sec-fetch-site")
    if not follows_link and any(site not in _OWN_SITE for site in sites):
        return PlainTextResponse("Another site asks; only the UI's own pages may\n", 403)
    return None


def _change_by_get(scope: Scope) -> PlainTextResponse | None:
    """The answer to a request that only reads by its method, but not by what it asks."""
    if scope["type"] != "http" or scope["method"] not in _READING:
        return None
    if any(_changes(query) for query in QueryParams(scope["query_string"]).getlist("query")):
        return PlainTextResponse(
            "A GET changes nothing: send it as a POST\n", 405, {"Allow": "POST"}
        )
    return None


def _changes(query: str) -> bool:
    """Whether a GraphQL document holds anything but queries; what is no document does nothing."""
    try:
        document = parse(query)
    except GraphQLError:
        return False
    except RecursionError:
        return True
    return any(
        isinstance(part, OperationDefinitionNode) and part.operation is not OperationType.QUERY
        for part in document.definitions
    )
