"""Speaks HTTP to a running service."""

from collections.abc import Mapping
from typing import Any

import httpx

from app.cli.errors import ShellError

TIMEOUT_SECONDS = 40.0
"""Longer than the service's longest wait for an order's end."""

Json = dict[str, Any]


class Client:
    """A service at `base_url`; every trouble is a ShellError: one line, with the service's own code."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self.base_url, timeout=TIMEOUT_SECONDS)
        except (httpx.InvalidURL, ValueError) as error:
            raise ShellError("URL_INVALID", f"{base_url} is no address", "write http://") from error

    def send(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request, whatever the answer's status; leaves out query parameters that are None."""
        given = {key: str(value) for key, value in (query or {}).items() if value is not None}
        try:
            return self._http.request(verb, path, params=given, json=body, headers=headers)
        except httpx.UnsupportedProtocol as error:
            raise ShellError(
                "URL_INVALID", f"{self.base_url} is no http address", "write http://HOST:PORT"
            ) from error
        except httpx.TimeoutException as error:
            what = f"the service at {self.base_url} did not answer in {TIMEOUT_SECONDS:.0f} s"
            raise ShellError("SERVICE_SILENT", what, "look at its log, try again") from error
        except httpx.TransportError as error:
            raise ShellError(
                "SERVICE_UNREACHABLE",
                f"no service answers at {self.base_url}",
                "start it (synergy7 serve) or name it (--url)",
            ) from error

    def document(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Json:
        """Send a request that must succeed; gives its document."""
        answer = self.send(verb, path, query=query, body=body)
        if answer.is_success:
            return as_json(answer)
        problem = as_json(answer)
        code = problem.get("code", f"HTTP_{answer.status_code}")
        what = problem.get("detail") or problem.get("title") or "the service refused"
        raise ShellError(str(code), str(what).rstrip("."), "")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def as_json(answer: httpx.Response) -> Json:
    """Read an answer's JSON object; ShellError when something else than the service answers."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        what = f"{answer.url.copy_with(query=None)} answered no JSON object"
        raise ShellError("NOT_THE_SERVICE", what, "check --url")
    return document
