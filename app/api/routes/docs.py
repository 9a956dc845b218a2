"""The interface's own description: the OpenAPI document and the page that shows it."""

import gzip
from importlib.resources import files
from typing import Final

from app.api.answers import Answer, Header, json_answer
from app.api.endpoint import Call
from app.api.openapi import openapi_document
from app.api.problems import Problem
from app.domain.errors import ReasonCode

_ASSETS: Final = {
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "swagger-ui.css": b"text/css; charset=utf-8",
    "start.js": b"text/javascript; charset=utf-8",
}
_PAGE_HEADERS: Final[tuple[Header, ...]] = (
    # Everything comes from here; the page's own script styles its elements and inlines its icons.
    (
        b"content-security-policy",
        b"default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
    ),
)
_GZIP: Final[Header] = (b"content-encoding", b"gzip")


async def get_openapi(call: Call) -> Answer:
    """Give the OpenAPI document, with the markets and methods that are configured."""
    rules = call.service.manager.rules
    return json_answer(openapi_document(sorted(rules.markets), sorted(rules.methods)))


async def get_docs(_call: Call) -> Answer:
    """Give the page that shows the OpenAPI document."""
    return Answer(200, _read("docs.html"), b"text/html; charset=utf-8", _PAGE_HEADERS)


async def get_asset(call: Call) -> Answer:
    """Give a file of the page; the large ones are kept compressed."""
    name = str(call.scope["path_params"]["name"])
    if name not in _ASSETS:
        raise Problem(ReasonCode.NOT_FOUND, "the page has no such file")
    if name == "start.js":
        return Answer(200, _read(name), _ASSETS[name])
    packed = _read(f"{name}.gz")
    if "gzip" in (call.header("Accept-Encoding") or ""):
        return Answer(200, packed, _ASSETS[name], (_GZIP,))
    return Answer(200, gzip.decompress(packed), _ASSETS[name])


def _read(name: str) -> bytes:
    return files("app.api").joinpath("static", name).read_bytes()
