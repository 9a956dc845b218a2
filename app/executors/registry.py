"""The registry of submission methods: built in, or found by the entry-point group `synergy7.executors`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from app.domain.errors import StartupError
from app.engine.ports import Executor
from app.executors.gate import Gate
from app.executors.rpc import RpcExecutor
from app.solana.json_rpc import JsonRpcClient

ENTRY_POINT_GROUP: Final = "synergy7.executors"


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method is made of: its gate, its section of the configuration, and a way to the network."""

    name: str
    options: Mapping[str, object]
    gate: Gate
    rpc_clients: Sequence[JsonRpcClient]
    connect: Callable[[str, Mapping[str, str]], JsonRpcClient]
    """Make a client for a URL with headers; the registry's owner closes it."""


Factory = Callable[[MethodContext], Executor]
"""Makes an executor; raises StartupError when its configuration will not do."""


def _rpc(context: MethodContext) -> Executor:
    return RpcExecutor(context.rpc_clients, context.gate)


BUILT_IN: Final[Mapping[str, Factory]] = {"rpc": _rpc}


class ExecutorRegistry:
    """The configured methods by name, in their order."""

    def __init__(self, executors: Sequence[Executor]) -> None:
        """Take the executors; two of one name are a start-up error."""
        self._executors: dict[str, Executor] = {}
        for executor in executors:
            if executor.name in self._executors:
                what = f"two methods are named {executor.name}"
                raise StartupError("METHOD_DUPLICATE", what, "name each method once")
            self._executors[executor.name] = executor

    def __iter__(self) -> Iterator[Executor]:
        """Give the executors in their order."""
        return iter(self._executors.values())

    def mapping(self) -> Mapping[str, Executor]:
        """Give the executors by name, in their order."""
        return dict(self._executors)


def build_registry(
    names: Sequence[str], make_context: Callable[[str], MethodContext]
) -> ExecutorRegistry:
    """Make the named methods; an unknown name, or one that two plug-ins claim, is a start-up error."""
    if not names:
        raise StartupError("NO_METHODS", "no submission method is configured", "set methods.order")
    factories = _factories(entry_points(group=ENTRY_POINT_GROUP))
    executors = []
    for name in names:
        if name not in factories:
            known = ", ".join(sorted(factories))
            what = f"the method {name!r} is not known"
            raise StartupError("METHOD_UNKNOWN", what, f"use: {known}, or install its package")
        executors.append(factories[name](make_context(name)))
    return ExecutorRegistry(executors)


def _factories(found: Sequence[EntryPoint]) -> dict[str, Factory]:
    factories = dict(BUILT_IN)
    for point in found:
        if point.name in factories:
            what = f"the plug-in method {point.name!r} has the name of another"
            raise StartupError("METHOD_DUPLICATE", what, "uninstall one of them")
        factories[point.name] = point.load()
    return factories
