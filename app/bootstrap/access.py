"""Who may reach the service: until API keys exist, only this machine, and only the sandbox."""

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.domain.errors import StartupError
from app.executors.block_engine import region_url
from app.executors.sender_section import sender_options
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
    for key, urls in _addresses(settings).items():
        if not all(_is_here(url) for url in urls):
            what = f"{key} names another machine, which may serve a chain with real money"
            raise StartupError("NO_API_KEYS", what, todo)


def _addresses(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Give every address that transactions may go to, by the setting that says it."""
    methods = settings.methods
    engine, quicknode = methods.block_engine, methods.quicknode.url
    return {
        "solana.rpc_urls": _told(settings.solana.rpc_urls),
        "methods.rpc.urls": _told(methods.rpc.urls),
        "methods.block_engine.urls": _told(engine.urls),
        "methods.block_engine.regions": [region_url(name) for name in engine.regions],
        "methods.quicknode.url": _told([quicknode] if quicknode else []),
        **{
            f"methods.senders.{name}": sender_options(name, methods.senders[name]).urls
            for name in methods.order
            if name in methods.senders
        },
    }


def _told(urls: Sequence[SecretStr]) -> Sequence[str]:
    return [url.get_secret_value() for url in urls]


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
