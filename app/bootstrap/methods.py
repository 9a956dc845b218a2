"""Submission methods out of the settings: where they are, what they may ask, who shares which pace."""

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import SecretStr

from app.bootstrap import opening
from app.domain.errors import StartupError
from app.domain.events import EventKind
from app.engine.ports import Executor, TipNeeds
from app.executors.block_engine import auth_headers, jito_tips, region_url, tip_accounts
from app.executors.bundle import bundle
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.jito import jito
from app.executors.limiter import Limiter
from app.executors.method import Target
from app.executors.quicknode import Fastlane, LilJit, quicknode
from app.executors.quicknode import auth_headers as quicknode_headers
from app.executors.registry import Factory, MethodContext, build_registry
from app.executors.rpc import rpc
from app.executors.sender import build_sender
from app.executors.tip_floor import TipBounds, TipFloor, TipSource
from app.metrics.prometheus import PrometheusTelemetry
from app.settings import Settings
from app.solana.json_rpc import JsonRpcClient

TIP_FLOOR_PATH: Final = "/api/v1/bundles/tip_floor"
TIP_FLOOR_URL: Final = f"https://bundles.jito.wtf{TIP_FLOOR_PATH}"
TODO: Final = "see docs/configuration.md"

Work = Callable[[], Coroutine[object, object, None]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the methods are made in."""

    settings: Settings
    network: opening.Network
    telemetry: PrometheusTelemetry
    stack: AsyncExitStack
    noted: Callable[[EventKind, Mapping[str, object]], None]


class MethodsBuilder:
    """Makes the configured methods, and collects the work that they want done beside the engine."""

    def __init__(self, around: Surroundings) -> None:
        """Nothing is made yet."""
        self._around = around
        self._settings = around.settings.methods
        self._limiters: dict[str, Limiter] = {}
        self._sharers: dict[str, list[str]] = {}
        self._regions: tuple[JsonRpcClient, ...] | None = None
        self._statuses: BundleStatuses | None = None
        self._tip_floor: TipFloor | None = None
        self.background: dict[str, Work] = {}

    def build(self) -> Mapping[str, Executor]:
        """Make the methods by name, in their order; raises StartupError."""
        senders = self._settings.senders
        built_in: dict[str, Factory] = {
            "bundle": self._bundle,
            "jito": self._jito,
            "quicknode": self._quicknode,
            "rpc": self._rpc,
        }
        for name in senders:
            if name in built_in:
                what = f"the sender {name!r} has the name of another method"
                raise StartupError("METHOD_DUPLICATE", what, "rename it in methods.senders")
        self._refuse_unknown_patience({*built_in, *senders, *self._settings.order})
        factories = {**built_in, **dict.fromkeys(senders, build_sender)}
        return build_registry(self._settings.order, factories, self._context).mapping()

    def patience(self) -> Mapping[str, float]:
        """Give each method's patience in seconds."""
        usual = self._around.settings.execution.patience
        return {name: self._settings.patience.get(name, usual) for name in self._settings.order}

    def _refuse_unknown_patience(self, known: set[str]) -> None:
        for name in self._settings.patience:
            if name not in known:
                what = f"methods.patience.{name} names no method"
                raise StartupError("CONFIG_UNKNOWN", what, TODO)

    # ------------------------------------------------------------ what every method gets

    def _context(self, name: str) -> MethodContext:
        sections = {**self._settings.options, **self._settings.senders}
        return MethodContext(
            name=name,
            options=sections.get(name, {}),
            gate=Gate(name, on_change=partial(self._breaker_moved, name)),
            rpc_clients=self._around.network.clients,
            connect=self._connect,
            limiter=partial(self._limiter, name),
            background=self.background.__setitem__,
        )

    def _connect(self, url: str, headers: Mapping[str, str]) -> JsonRpcClient:
        around = self._around
        seconds = around.settings.execution.push_timeout
        return opening.connect(url, headers, seconds, around.telemetry, around.stack)

    def _limiter(self, method: str, key: str, per_second: float) -> Limiter:
        sharers = self._sharers.setdefault(key, [])
        if method not in sharers:
            sharers.append(method)
        if key not in self._limiters:
            endpoint = key.partition(" ")[0]
            self._limiters[key] = Limiter(
                per_second, on_back_off=lambda seconds: self._rests(sharers, endpoint, seconds)
            )
        return self._limiters[key]

    def _rests(self, methods: Sequence[str], endpoint: str, seconds: float) -> None:
        for method in methods:
            self._around.telemetry.limited(method, endpoint, seconds)
            data = {"method": method, "endpoint": endpoint, "seconds": str(round(seconds, 3))}
            self._around.noted(EventKind.METHOD_LIMITED, data)

    def _breaker_moved(self, method: str, to: str) -> None:
        self._around.telemetry.breaker(method, to)
        self._around.noted(EventKind.METHOD_BREAKER, {"method": method, "to": to})

    # ------------------------------------------------------------ the block engine

    def _bundle(self, context: MethodContext) -> Executor:
        targets = self._block_engine(context)
        return bundle(targets, context.gate, tips=self._tips(), statuses=self._said(targets))

    def _jito(self, context: MethodContext) -> Executor:
        targets = self._block_engine(context)
        return jito(
            targets,
            context.gate,
            bundle_only=self._settings.jito.bundle_only,
            tips=self._tips(),
            statuses=self._said(targets),
        )

    def _block_engine(self, context: MethodContext) -> Sequence[Target]:
        """Give the regions; they and their pace are shared by all that speaks to the block engine."""
        section = self._settings.block_engine
        if self._regions is None:
            headers = auth_headers(_secret(section.uuid))
            self._regions = tuple(self._connect(url, headers) for url in self._region_urls())
        pace = section.requests_per_second or math.inf
        return [
            Target(client, context.limiter(f"{client.endpoint} region-{number}", pace))
            for number, client in enumerate(self._regions)
        ]

    def _region_urls(self) -> Sequence[str]:
        section, endpoints = self._settings.block_engine, self._around.network.endpoints
        if section.urls and section.regions:
            what = "methods.block_engine.urls and regions both say where it is"
            raise StartupError("CONFIG_INVALID", what, "set only one of them")
        if section.regions:
            return [region_url(name) for name in section.regions]
        if section.urls:
            return [url.get_secret_value() for url in section.urls]
        if endpoints is not None:
            return [endpoints.jito_url]
        what = "bundle or jito is in methods.order and methods.block_engine says no place"
        raise StartupError("METHOD_NOT_CONFIGURED", what, "set its regions or urls")

    def _said(self, targets: Sequence[Target]) -> BundleStatuses | None:
        if not self._settings.block_engine.bundle_statuses:
            return None
        if self._statuses is None:
            self._statuses = self._watched(
                "block-engine-statuses",
                BundleStatuses(targets, on_status=self._around.telemetry.bundle_status),
            )
        return self._statuses

    def _watched(self, name: str, statuses: BundleStatuses) -> BundleStatuses:
        self.background[name] = statuses.run
        return statuses

    def _tips(self) -> Callable[[], TipNeeds]:
        """Have Jito be tipped the going rate, which is read once for all methods."""
        settings = self._around.settings
        accounts = tip_accounts(settings.network, self._settings.block_engine.tip_accounts)
        if self._tip_floor is None:
            tip = settings.fees.tip
            if tip.floor_lamports > tip.cap_lamports:
                what = "fees.tip.floor_lamports is above fees.tip.cap_lamports"
                raise StartupError("CONFIG_INVALID", what, TODO)
            self._tip_floor = TipFloor(
                TipSource(self._connect(self._tip_floor_url(), {}), tip.percentile),
                TipBounds(tip.floor_lamports, tip.cap_lamports, tip.default_lamports),
                on_tip=self._around.telemetry.tip,
            )
            self.background["tip-floor"] = self._tip_floor.run
        return jito_tips(accounts, self._tip_floor.lamports)

    def _tip_floor_url(self) -> str:
        configured, endpoints = self._around.settings.fees.tip.url, self._around.network.endpoints
        if configured is not None:
            return configured.get_secret_value()
        return f"{endpoints.jito_url}{TIP_FLOOR_PATH}" if endpoints else TIP_FLOOR_URL

    # ------------------------------------------------------------ nodes

    def _quicknode(self, context: MethodContext) -> Executor:
        section = self._settings.quicknode
        client = quicknode_client(self._around.settings, self._around.network, self._connect)
        if client is None:
            what = "quicknode is in methods.order and has no address"
            raise StartupError("METHOD_NOT_CONFIGURED", what, "set methods.quicknode.url and token")
        pace = section.requests_per_second or math.inf
        target = Target(client, context.limiter(f"{client.endpoint} quicknode", pace))
        lane = section.fastlane
        fastlane = Fastlane(
            lane.tip_accounts, lane.min_tip_lamports, lane.min_unit_price_micro_lamports
        )
        if lane.enabled and not lane.tip_accounts:
            what = "methods.quicknode.fastlane.tip_accounts is not set"
            raise StartupError(
                "METHOD_NOT_CONFIGURED", what, "take them from QuickNode's dashboard"
            )
        return quicknode(
            target,
            context.gate,
            tips=self._tips() if section.lil_jit.enabled else None,
            bundles=self._lil_jit(target) if section.lil_jit.enabled else None,
            fastlane=fastlane if lane.enabled else None,
        )

    def _lil_jit(self, target: Target) -> LilJit:
        section, statuses = self._settings.quicknode.lil_jit, None
        if self._settings.block_engine.bundle_statuses:
            told = self._around.telemetry.bundle_status
            statuses = self._watched(
                "quicknode-statuses", BundleStatuses([target], path="", on_status=told)
            )
        return LilJit(section.encoding, section.region, statuses)

    def _rpc(self, context: MethodContext) -> Executor:
        urls = [url.get_secret_value() for url in self._settings.rpc.urls]
        clients = [self._connect(url, {}) for url in urls] or context.rpc_clients

        def limiter(client: JsonRpcClient) -> Limiter:
            return context.limiter(f"{client.endpoint} rpc", math.inf)

        return rpc(clients, context.gate, limiter=limiter)


def quicknode_client(
    settings: Settings,
    network: opening.Network,
    connect: Callable[[str, Mapping[str, str]], JsonRpcClient],
) -> JsonRpcClient | None:
    """Make a client of the QuickNode endpoint, the sandbox's when none is configured; None without."""
    section, endpoints = settings.methods.quicknode, network.endpoints
    if section.url is not None:
        return connect(section.url.get_secret_value(), quicknode_headers(_secret(section.token)))
    if endpoints is None:
        return None
    return connect(endpoints.quicknode_url, quicknode_headers(endpoints.quicknode_token))


def _secret(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
