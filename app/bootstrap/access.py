"""Who may reach the service: until API keys exist, only this machine, and only the sandbox."""

import ipaddress
from urllib.parse import urlsplit

from app.domain.errors import StartupError
from app.settings import Settings


def refuse_unguarded(settings: Settings) -> None:
    """Refuse real networks and hosts that others can reach; raises StartupError(NO_API_KEYS)."""
    todo = "this version has no API keys yet: run it on the sandbox, bound to 127.0.0.1"
    if settings.network != "sandbox":
        what = f"network is {settings.network} and no API keys guard the service"
        raise StartupError("NO_API_KEYS", what, todo)
    if not is_loopback(settings.server.host):
        what = "server.host can be reached from other machines and no API keys guard the service"
        raise StartupError("NO_API_KEYS", what, todo)
    if any(not _is_here(url.get_secret_value()) for url in settings.solana.rpc_urls):
        what = "solana.rpc_urls names another machine, which may serve a chain with real money"
        raise StartupError("NO_API_KEYS", what, todo)


def _is_here(url: str) -> bool:
    """Tell whether a URL leads to this machine only."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
