"""Settings: a frozen tree read from config.yaml and, above it, the environment; typos are errors."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeGuard, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.domain.errors import StartupError
from app.settings.sections import (
    Execution,
    Fees,
    Log,
    MarketEntry,
    Methods,
    Metrics,
    OrderManagement,
    Sandbox,
    Server,
    Solana,
    StrategySection,
    TokenEntry,
    Wallet,
)

__all__ = [
    "CONFIG_VARIABLE",
    "PREFIX",
    "SHIPPED_CONFIG",
    "MarketEntry",
    "OrderManagement",
    "Server",
    "Settings",
    "Solana",
    "load_settings",
    "variable_of",
]

PREFIX: Final = "SYNERGY7_"
CONFIG_VARIABLE: Final = "SYNERGY7_CONFIG"
SHIPPED_CONFIG: Final = Path(__file__).resolve().parents[2] / "config.yaml"
TODO: Final = "see docs/configuration.md"
SECRETS: Final = (
    ("wallet", "secret_key"),
    ("methods", "block_engine", "uuid"),
    ("methods", "quicknode", "token"),
)
"""Keys that may stand in the environment only."""


class Settings(BaseSettings):
    """The whole tree; made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        case_sensitive=False,
        hide_input_in_errors=True,
    )

    network: Literal["sandbox", "devnet", "mainnet"] = "sandbox"
    execution: Execution = Execution()
    order_management: OrderManagement = OrderManagement()
    metrics: Metrics = Metrics()
    methods: Methods = Methods()
    fees: Fees = Fees()
    wallet: Wallet = Wallet()
    solana: Solana = Solana()
    server: Server = Server()
    log: Log = Log()
    tokens: Mapping[str, TokenEntry] = {}
    markets: Mapping[str, MarketEntry] = {}
    strategies: Mapping[Annotated[str, Field(min_length=1, max_length=128)], StrategySection] = {}
    sandbox: Sandbox = Sandbox()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment above file: what `load_settings` passes in is the file."""
        return env_settings, init_settings


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings; raises StartupError naming the file or variable and the key at fault.

    The file is `path`, else what SYNERGY7_CONFIG names, else ./config.yaml, else the shipped one.
    """
    found = _config_file(path)
    document = _read(found)
    _refuse_unknown_variables()
    for key in SECRETS:
        if _stands_in(document, key):
            what = f"{found}: {'.'.join(key)} is a secret"
            raise StartupError("CONFIG_SECRET", what, f"set {variable_of(*key)} instead")
    _refuse_sender_keys(found, document)
    try:
        return Settings(**document)
    except ValidationError as error:
        raise _explain(error, found, document) from None
    except SettingsError:
        raise _no_json() from None


def _refuse_sender_keys(path: Path, document: Mapping[str, object]) -> None:
    """Refuse a sender's key in the file: whoever reads the file could send in its name."""
    methods = document.get("methods")
    senders = methods.get("senders") if isinstance(methods, dict) else None
    for name in senders if isinstance(senders, dict) else ():
        key = ("methods", "senders", str(name), "api_key")
        if _stands_in(document, key):
            what = f"{path}: {'.'.join(key)} is a secret"
            raise StartupError("CONFIG_SECRET", what, f"set {variable_of(*key)} instead")


def variable_of(*path: object) -> str:
    """Name the environment variable of a key: `SYNERGY7_SERVER__PORT` of server, port."""
    return PREFIX + "__".join(str(part) for part in path).upper()


def _config_file(path: Path | None) -> Path:
    named = path or (Path(os.environ[CONFIG_VARIABLE]) if CONFIG_VARIABLE in os.environ else None)
    if named is not None:
        if not named.is_file():
            what = f"the settings file {named} does not exist"
            raise StartupError("CONFIG_MISSING", what, f"name another in {CONFIG_VARIABLE}")
        return named
    here = Path("config.yaml")
    return here if here.is_file() else SHIPPED_CONFIG


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path} line {mark.line + 1}" if mark is not None else str(path)
        what = f"{where} is no YAML ({getattr(error, 'problem', None) or 'not UTF-8'})"
        raise StartupError("CONFIG_INVALID", what, "mend the file") from None
    except OSError as error:
        what = f"{path} cannot be read ({error.strerror})"
        raise StartupError("CONFIG_UNREADABLE", what, "mend its permissions") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise StartupError("CONFIG_INVALID", f"{path} is no mapping of sections", "mend the file")
    # a section whose keys are all commented out is an empty one
    return {key: {} if value is None else value for key, value in document.items()}


class _Loader(yaml.SafeLoader):
    """YAML without floats (exact decimals instead) and without silently repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Decimal:
    text = str(loader.construct_scalar(node))
    try:
        return Decimal(text.replace("_", ""))
    except InvalidOperation:
        problem = "a number is none"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


def _refuse_unknown_variables() -> None:
    """Refuse a variable that names nothing: pydantic-settings would pass over some of them."""
    for variable, path in _variables():
        if _at(path) is None:
            what = f"the environment variable {variable} names no setting"
            raise StartupError("CONFIG_UNKNOWN", what, TODO)


def _variables() -> Iterator[tuple[str, Sequence[str]]]:
    """Give the environment's variables of ours, each with the path that it names."""
    for variable in sorted(os.environ):
        name = variable.upper()
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE:
            yield variable, name.removeprefix(PREFIX).lower().split("__")


def _at(path: Sequence[str]) -> object:
    """Give the type at a path of the tree, None when there is none; below a mapping every name goes."""
    here: object = Settings
    for part in path:
        if get_origin(here) is Mapping:
            return Any
        if not _is_section(here) or part not in here.model_fields:
            return None
        here = here.model_fields[part].annotation
    return here


def _is_section(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _no_json() -> StartupError:
    """Name the variable of a whole section or mapping whose text is no JSON."""
    for variable, path in _variables():
        kind = _at(path)
        if (_is_section(kind) or get_origin(kind) is Mapping) and not _is_json(variable):
            what = f"the environment variable {variable} is no JSON object"
            return StartupError("CONFIG_INVALID", what, TODO)
    return StartupError("CONFIG_INVALID", "an environment variable is no JSON object", TODO)


def _is_json(variable: str) -> bool:
    try:
        json.loads(os.environ[variable])
    except ValueError:
        return False
    return True


def _explain(error: ValidationError, path: Path, document: Mapping[str, object]) -> StartupError:
    """Name the first key at fault, and whether the file or the environment holds it; no values."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = _holder(first["loc"], document) or f"{path}: {'.'.join(map(str, first['loc']))}"
    if first["type"] == "extra_forbidden":
        return StartupError("CONFIG_UNKNOWN", f"{where} names no setting", TODO)
    return StartupError("CONFIG_INVALID", f"{where}: {first['msg']}", TODO)


def _holder(key: Sequence[object], document: Mapping[str, object]) -> str | None:
    """Name the variable that a key came from: its own, or one of a whole section; None for the file."""
    known = {variable.upper(): variable for variable, _ in _variables()}
    own = known.get(variable_of(*key))
    if own is None and not _stands_in(document, key):
        own = next((v for n in range(len(key)) if (v := known.get(variable_of(*key[:n])))), None)
        return own and f"the environment variable {own}: {'.'.join(map(str, key))}"
    return own and f"the environment variable {own}"


def _stands_in(document: object, key: Sequence[object]) -> bool:
    for part in key:
        if not isinstance(document, Mapping) or part not in document:
            return False
        document = document[part]
    return True
