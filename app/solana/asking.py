"""One question to one endpoint: a sound answer, or a ValueError that says in words what there was instead."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from app.solana import decode
from app.solana.endpoints import words
from app.solana.json_rpc import JsonRpcClient, Result

T = TypeVar("T")


async def ask(
    client: JsonRpcClient, method: str, params: Sequence[object], read: Callable[[object], T]
) -> T:
    """Ask one endpoint; raises ValueError with words for anything but a sound answer."""
    answer = await client.call(method, params)
    if not isinstance(answer, Result):
        raise ValueError(f"{client.endpoint}: {method}: {words(answer)}")  # noqa: TRY004
    try:
        return read(answer.value)
    except (ValueError, IndexError):
        raise ValueError(f"{client.endpoint}: {method} answered in a wrong shape") from None


async def demand_chain(client: JsonRpcClient, genesis: str | None) -> None:
    """Make sure, each time, that an endpoint serves the chain; raises ValueError."""
    if genesis is None or await ask(client, "getGenesisHash", [], decode.text) != genesis:
        raise ValueError(f"{client.endpoint}: not known to serve this chain")
