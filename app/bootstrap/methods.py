"""Submission methods out of the settings: where they are, what they may ask, who shares which pace."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.bootstrap import opening
from app.domain.errors import StartupError
from app.domain.events import EventKind
from app.engine.ports import Executor, TipNeeds
from app.executors.block_engine import auth_headers, jito_tips, region_url, tip_accounts
from app.executors.bundle import bundle
from app.executors.bundle_statuses import BundleStatuses
from app.executors.gate import Gate
from app.executors.guarded import Work
from app.executors.jito import jito
from app.executors.limiter import Limiter, pace_key
from app.executors.method import Target
from app.executors.payees import demand_payees
from app.executors.quicknode import Fastlane, LilJit, quicknode
from app.executors.quicknode import auth_headers as quicknode_headers
from app.executors.registry import Factory, MethodContext, build_registry
from app.executors.rpc import rpc
from app.executors.sender import build_sender
from app.executors.sender_section import sender_options
from app.executors.tip_floor import TipBounds, TipFloor, TipSource
from app.metrics.prometheus import PrometheusTelemetry
from app.settings import Settings
from app.solana.json_rpc import JsonRpcClient

TIP_FLOOR_PATH: Final = "/api/v1/bundles/tip_floor"
TIP_FLOOR_URL: Final = f"https://bundles.jito.wtf{TIP_FLOOR_PATH}"
TODO: Final = "see docs/configuration.md"
PACE_SHARE: Final = 0.9
"""What is used of a pace: providers count requests when they come, which is not when they left."""
QUICKNODE: Final = "quicknode"


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
        self._quicknode_target: Target | None = None
        self.background: dict[str, Work] = {}

    def build(self) -> Mapping[str, Executor]:
        """Make the methods by name, in their order; raises StartupError."""
        senders = self._settings.senders
        built_in: dict[str, Factory] = {
            "bundle": self._bundle,
            "jito": self._jito,
            QUICKNODE: self._quicknode,
            "rpc": self._rpc,
        }
        for name in senders:
            if name in built_in:
                what = f"the sender {name!r} has the name of another method"
                raise StartupError("METHOD_DUPLICATE", what, "rename it in methods.senders")
        factories = {**built_in, **dict.fromkeys(senders, build_sender)}
        self._refuse_idle_settings(factories)
        return build_registry(self._settings.order, factories, self._context).mapping()

    @property
    def regions(self) -> Sequence[JsonRpcClient]:
        """The block engine's regions that methods were made for."""
        return self._regions or ()

    def patience(self) -> Mapping[str, float]:
        """Give each method's patience in seconds."""
        usual = self._around.settings.execution.patience
        return {name: self._settings.patience.get(name, usual) for name in self._settings.order}

    def _refuse_idle_settings(self, ours: Mapping[str, Factory]) -> None:
        """Refuse settings that would do nothing in silence, and read what is not in use for now."""
        order = self._settings.order
        for name in self._settings.patience:
            if name not in ours and name not in order:
                what = f"methods.patience.{name} names no method"
                raise StartupError("CONFIG_UNKNOWN", what, TODO)
        for name in self._settings.options:
            if name in ours or name not in order:
                what = f"methods.options.{name} names no method of another package in methods.order"
                raise StartupError("CONFIG_UNKNOWN", what, TODO)
        for name, section in self._settings.senders.items():
            _read_sender(name, section, used=name in order)

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
            background=partial(self._add_work, name),
        )

    def _add_work(self, method: str, name: str, work: Work) -> None:
        """Name a method's work after it, so that it takes nobody else's place."""
        whole = f"{method}: {name}"
        if whole in self.background:
            what = f"the method {method!r} starts two works of one name"
            raise StartupError("METHOD_BROKEN", what, "mend or uninstall its package")
        self.background[whole] = work

    def _connect(self, url: str, headers: Mapping[str, str]) -> JsonRpcClient:
        around = self._around
        seconds = around.settings.execution.push_timeout
        return opening.connect(url, headers, seconds, around.telemetry, around.stack)

    def _limiter(self, method: str, key: str, per_second: float) -> Limiter:
        """Give the pace of a key; who comes later shares it, at the slower pace of both."""
        per_second *= PACE_SHARE
        sharers = self._sharers.setdefault(key, [])
        if method not in sharers:
            sharers.append(method)
        limiter = self._limiters.get(key)
        if limiter is None:
            rests = partial(self._rests, sharers, key.partition(" ")[0])
            limiter = self._limiters[key] = Limiter(per_second, on_back_off=rests)
        limiter.share(per_second)
        return limiter

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
        """Give the regions; they and their pace are shared by all that speaks to the block engine.

        Each has its place once: it would be asked twice for one limit.
        """
        section, urls = self._settings.block_engine, self._region_urls()
        keys = [_region_key(url) for url in urls]
        if len(set(keys)) < len(keys):
            key = "regions" if section.regions else "urls"
            what = f"methods.block_engine.{key}: one stands twice"
            raise StartupError("CONFIG_INVALID", what, TODO)
        if self._regions is None:
            headers = auth_headers(_secret(section.uuid))
            self._regions = tuple(self._connect(url, headers) for url in urls)
        pace = section.requests_per_second or math.inf
        return [
            Target(client, context.limiter(key, pace))
            for key, client in zip(keys, self._regions, strict=True)
        ]

    def _region_urls(self) -> Sequence[str]:
        """Give the regions' addresses."""
        section, endpoints = self._settings.block_engine, self._around.network.endpoints
        if section.urls and section.regions:
            what = "methods.block_engine.urls and regions both say where it is"
            raise StartupError("CONFIG_INVALID", what, "set only one of them")
        urls = [region_url(name) for name in section.regions] or _secrets(section.urls)
        if not urls and endpoints is not None:
            return [endpoints.jito_url]
        if not urls:
            what = "bundle or jito is in methods.order and methods.block_engine says no place"
            raise StartupError("METHOD_NOT_CONFIGURED", what, "set its regions or urls")
        return urls

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
        settings, configured = self._around.settings, self._settings.block_engine.tip_accounts
        accounts = tip_accounts(settings.network, configured)
        demand_payees("methods.block_engine.tip_accounts", configured, TODO)
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
        section, target = self._settings.quicknode, self.quicknode_target()
        if target is None:
            what = "quicknode is in methods.order and has no address"
            raise StartupError("METHOD_NOT_CONFIGURED", what, "set methods.quicknode.url and token")
        if section.jito_tip and section.fastlane.enabled:
            what = "methods.quicknode.jito_tip is set, and Fastlane is tipped instead"
            raise StartupError("QUICKNODE_OPTIONS", what, "set only one of them")
        tipped = section.lil_jit.enabled or section.jito_tip
        return quicknode(
            target,
            context.gate,
            tips=self._tips() if tipped else None,
            bundles=self._lil_jit(target) if section.lil_jit.enabled else None,
            fastlane=self._fastlane(),
        )

    def quicknode_target(self) -> Target | None:
        """Give the QuickNode endpoint with its pace, one for all that ask it; None without an address."""
        if self._quicknode_target is None:
            section, endpoints = self._settings.quicknode, self._around.network.endpoints
            url, token = _secret(section.url), _secret(section.token)
            if url is None and endpoints is not None:
                url, token = endpoints.quicknode_url, endpoints.quicknode_token
            if url is None:
                return None
            client = self._connect(url, quicknode_headers(token))
            pace = section.requests_per_second or math.inf
            limiter = self._limiter(QUICKNODE, pace_key(url, token or ""), pace)
            self._quicknode_target = Target(client, limiter)
        return self._quicknode_target

    def _fastlane(self) -> Fastlane | None:
        lane = self._settings.quicknode.fastlane
        key, todo = (
            "methods.quicknode.fastlane.tip_accounts",
            "take them from QuickNode's dashboard",
        )
        demand_payees(key, lane.tip_accounts, todo)
        if not lane.enabled:
            return None
        if not lane.tip_accounts:
            raise StartupError("METHOD_NOT_CONFIGURED", f"{key} is not set", todo)
        price = lane.min_unit_price_micro_lamports
        return Fastlane(lane.tip_accounts, lane.min_tip_lamports, price)

    def _lil_jit(self, target: Target) -> LilJit:
        section, statuses = self._settings.quicknode.lil_jit, None
        if self._settings.block_engine.bundle_statuses:
            told = self._around.telemetry.bundle_status
            statuses = self._watched(
                "quicknode-statuses", BundleStatuses([target], path="", on_status=told)
            )
        return LilJit(section.encoding, section.region, statuses)

    def _rpc(self, context: MethodContext) -> Executor:
        urls = _secrets(self._settings.rpc.urls)
        clients = [self._connect(url, {}) for url in urls] or context.rpc_clients
        urls = urls or _secrets(self._around.settings.solana.rpc_urls)
        if not urls:  # the sandbox's own node
            urls = [f"http://{client.endpoint}" for client in clients]
        keys = {client: pace_key(url) for url, client in zip(urls, clients, strict=True)}
        return rpc(
            clients, context.gate, limiter=lambda client: context.limiter(keys[client], math.inf)
        )


def _read_sender(name: str, section: Mapping[str, object], *, used: bool) -> None:
    """Read a sender's section; one that is not in use may still lack its key or place."""
    try:
        sender_options(name, section)
    except StartupError as error:
        if used or error.code != "METHOD_NOT_CONFIGURED":
            raise


def _region_key(url: str) -> str:
    """Name the pace of a region: its host and path, whoever asks."""
    return pace_key(urlsplit(url)._replace(query="").geturl())


def _secret(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _secrets(secrets: Sequence[SecretStr]) -> list[str]:
    return [secret.get_secret_value() for secret in secrets]
