"""The registry of submission methods: built in, or found by the entry-point group `synergy7.executors`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from app.domain.errors import StartupError
from app.engine.ports import Executor
from app.executors.gate import Gate
from app.executors.guarded import Guarded, Work, broken, guarded_work
from app.executors.limiter import Limiter
from app.executors.payees import demand_payees
from app.solana.json_rpc import JsonRpcClient

ENTRY_POINT_GROUP: Final = "synergy7.executors"


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method is made of: its gate, its section of the configuration, and a way to the network."""

    name: str
    options: Mapping[str, object] = field(repr=False)
    """As they stand in the configuration; any of them may be a secret."""
    gate: Gate
    rpc_clients: Sequence[JsonRpcClient]
    connect: Callable[[str, Mapping[str, str]], JsonRpcClient]
    """Make a client for a URL with headers; the registry's owner closes it."""
    limiter: Callable[[str, float], Limiter]
    """Give the limiter of a credential at an endpoint, with its pace a second; one key, one limiter.

    Of several paces for one key the slowest holds."""
    background: Callable[[str, Work], None]
    """Have named work run beside the engine, as long as it runs: it never returns by itself.

    A name that the method has used already is a start-up error."""


Factory = Callable[[MethodContext], Executor]
"""Makes an executor; raises StartupError when its configuration will not do."""


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
    names: Sequence[str],
    built_in: Mapping[str, Factory],
    make_context: Callable[[str], MethodContext],
) -> ExecutorRegistry:
    """Make the named methods; an unknown name, or one that two plug-ins claim, is a start-up error.

    Those of other packages are held to the port (`Guarded`).
    """
    if not names:
        raise StartupError("NO_METHODS", "no submission method is configured", "set methods.order")
    plug_ins = _plug_ins(entry_points(group=ENTRY_POINT_GROUP), built_in)
    executors = []
    for name in names:
        if name not in built_in and name not in plug_ins:
            known = ", ".join(sorted({*built_in, *plug_ins}))
            what = f"the method {name!r} is not known"
            raise StartupError("METHOD_UNKNOWN", what, f"use: {known}, or install its package")
        context = make_context(name)
        if name in built_in:
            executor = built_in[name](context)
        else:
            executor = _plugged_in(_load(plug_ins[name]), context)
        key, todo = (
            f"the payees of the method {name!r}",
            "mend the method's section, or its package",
        )
        demand_payees(key, executor.needs.payees, todo)
        executors.append(executor)
    return ExecutorRegistry(executors)


def _plug_ins(
    found: Sequence[EntryPoint], built_in: Mapping[str, Factory]
) -> dict[str, EntryPoint]:
    plug_ins: dict[str, EntryPoint] = {}
    for point in found:
        if point.name in plug_ins or point.name in built_in:
            what = f"the plug-in method {point.name!r} has the name of another"
            raise StartupError("METHOD_DUPLICATE", what, "uninstall one of them")
        plug_ins[point.name] = point
    return plug_ins


def _load(point: EntryPoint) -> Factory:
    """Load a plug-in that is used; one that is not may be as broken as it likes."""
    try:
        factory: Factory = point.load()
    except Exception as error:
        raise broken(point.name, error) from error
    return factory


def _plugged_in(factory: Factory, context: MethodContext) -> Executor:
    """Make a method of another package; its own StartupError is its word to the operator."""

    def background(name: str, work: Work) -> None:
        context.background(name, guarded_work(context.name, name, work))

    try:
        executor = factory(replace(context, background=background))
        called = executor.name
    except StartupError:
        raise
    except Exception as error:
        raise broken(context.name, error) from error
    if called != context.name:
        what = f"the method {context.name!r} calls itself {called!r}"
        raise StartupError("METHOD_BROKEN", what, "mend or uninstall its package")
    return Guarded(executor, context.name)
