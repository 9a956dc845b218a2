"""Settings: the file below the environment, exact, and every mistake refused by name."""

import os
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, get_origin

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from app.domain.errors import StartupError
from app.settings import SHIPPED_CONFIG, Settings, load_settings, variable_of

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTATION = ROOT / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in an empty folder with none of our variables."""
    for name in list(os.environ):
        if name.upper().startswith("SYNERGY7_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def load(text: str) -> Settings:
    """Load a file with this text."""
    path = Path("given.yaml")
    path.write_text(text)
    return load_settings(path)


def refused(text: str = "") -> str:
    """Claim that loading is refused in one line; gives the line."""
    with pytest.raises(StartupError) as error:
        load(text)
    line = str(error.value)
    assert "\n" not in line
    assert re.fullmatch(r"[A-Z_]+: .+; .+", line), line
    return line


# -------------------------------------------------------------------- where from


def test_the_shipped_file_names_no_unknown_key_and_keeps_the_defaults() -> None:
    """What config.yaml shows is the default, but for the sandbox's four methods and measured fees."""
    shipped, bare_ = load_settings(), Settings()
    assert shipped.methods.order == ("bundle", "jito", "quicknode", "rpc")
    methods = shipped.methods.model_copy(update={"order": bare_.methods.order})
    assert shipped.fees.priority.source == "recent"
    priority = shipped.fees.priority.model_copy(update={"source": bare_.fees.priority.source})
    fees = shipped.fees.model_copy(update={"priority": priority})
    same = {"tokens": {}, "markets": {}, "methods": methods, "fees": fees}
    assert shipped.model_copy(update=same) == bare_
    assert set(shipped.markets) == {"SOL-USDC", "BONK-USDC", "RAY-SOL"}


def test_a_config_in_the_folder_goes_before_the_shipped_one() -> None:
    """Without another word the file is ./config.yaml."""
    Path("config.yaml").write_text("server: {port: 1234}")
    assert load_settings().server.port == 1234


def test_a_named_file_goes_before_the_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """SYNERGY7_CONFIG names the file; an argument goes before it."""
    Path("config.yaml").write_text("server: {port: 1}")
    Path("named.yaml").write_text("server: {port: 2}")
    monkeypatch.setenv("SYNERGY7_CONFIG", "named.yaml")
    assert load_settings().server.port == 2
    assert load("server: {port: 3}").server.port == 3


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable changes its key only, however it is spelt."""
    monkeypatch.setenv("SYNERGY7_EXECUTION__MAX_RETRIES", "7")
    monkeypatch.setenv("synergy7_server__port", "77")
    settings = load("execution: {max_retries: 1, retry_delay: 5}")
    assert (settings.execution.max_retries, settings.execution.retry_delay) == (7, 5)
    assert settings.server.port == 77


@pytest.mark.parametrize("text", ["veil, rpc", '["veil", "rpc"]', "veil,rpc,"])
def test_a_list_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Names with commas between, or JSON."""
    monkeypatch.setenv("SYNERGY7_METHODS__ORDER", text)
    assert load("").methods.order == ("veil", "rpc")


def test_a_section_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole section, as JSON, is merged over the file's."""
    monkeypatch.setenv("SYNERGY7_EXECUTION", '{"max_retries": 7}')
    monkeypatch.setenv("SYNERGY7_METHODS__OPTIONS__RPC__SPEED", "high")
    settings = load("execution: {retry_delay: 5}")
    assert (settings.execution.max_retries, settings.execution.retry_delay) == (7, 5)
    assert settings.methods.options == {"rpc": {"speed": "high"}}


# ------------------------------------------------------------------------- exact


def test_numbers_are_exact() -> None:
    """What is written 0.1 is a tenth, not the nearest binary fraction."""
    assert load("wallet: {reserve_sol: 0.1}").wallet.reserve_sol == Decimal("0.1")
    market = "markets: {A-B: {min_size: 1_0.25, pools: [{venue: v, address: a}]}}"
    assert load(market).markets["A-B"].min_size == Decimal("10.25")


def test_an_empty_section_is_a_section() -> None:
    """One whose keys are all commented out, or an empty file: the defaults."""
    assert load("execution:\n  # max_retries: 3\n") == Settings()
    assert load("") == Settings()


def test_settings_do_not_change() -> None:
    """The tree is frozen, all the way down."""
    settings = load("")
    with pytest.raises(ValidationError):
        settings.network = "devnet"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a dump of the settings nor a refusal of another key shows them."""
    monkeypatch.setenv("SYNERGY7_WALLET__SECRET_KEY", "hush")
    monkeypatch.setenv("SYNERGY7_SOLANA__RPC_URLS", "http://host/hush")
    monkeypatch.setenv("SYNERGY7_ORDER_MANAGEMENT__DATABASE_URL", "postgresql://u:hush@host/x")
    assert "hush" not in repr(load(""))
    assert "hush" not in refused("execution: {max_retries: hush}")


def test_what_senders_and_plug_ins_are_told_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any of it may be a key, and it is read as plain text."""
    monkeypatch.setenv("SYNERGY7_METHODS__SENDERS__MINE__API_KEY", "hush-1")
    monkeypatch.setenv("SYNERGY7_METHODS__SENDERS__MINE__HEADERS__X", "hush-2")
    monkeypatch.setenv("SYNERGY7_METHODS__OPTIONS__OTHER__PASSWORD", "hush-3")
    monkeypatch.setenv("SYNERGY7_METHODS__QUICKNODE__TOKEN", "hush-4")
    monkeypatch.setenv("SYNERGY7_METHODS__BLOCK_ENGINE__UUID", "hush-5")
    settings = load("")
    assert settings.methods.senders["mine"]["api_key"] == "hush-1"
    assert settings.methods.options["other"]["password"] == "hush-3"
    shown_ = [repr(settings), str(settings), repr(settings.methods), str(settings.methods)]
    assert [text for text in shown_ if "hush" in text] == []


# ----------------------------------------------------------------------- refused


@pytest.mark.parametrize("name", ["QUICKNODE__TOKEN", "BLOCK_ENGINE__UUID"])
@pytest.mark.parametrize("value", ["", " ", "hush\n", " hush", "hush hush", "hush\r\nx: y", "hüsh"])
def test_a_credential_that_no_header_carries(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A careless copy brings a blank or a line end: told by the variable, never by its value."""
    monkeypatch.setenv(f"SYNERGY7_METHODS__{name}", value)
    line = refused()
    assert line.startswith(f"CONFIG_INVALID: the environment variable SYNERGY7_METHODS__{name}: ")
    assert "hush" not in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("execution: {max_retrys: 3}", "CONFIG_UNKNOWN: given.yaml: execution.max_retrys names"),
        ("exekution: {max_retries: 3}", "CONFIG_UNKNOWN: given.yaml: exekution names"),
        ("execution: {max_retries: many}", "CONFIG_INVALID: given.yaml: execution.max_retries: "),
        ("execution: {max_retries: -1}", "CONFIG_INVALID: given.yaml: execution.max_retries: "),
        ("execution: [1]", "CONFIG_INVALID: given.yaml: execution: "),
        ("network: testnet", "CONFIG_INVALID: given.yaml: network: "),
        ("server: {port: 65536}", "CONFIG_INVALID: given.yaml: server.port: "),
        ("markets: {A-B: {pools: []}}", "CONFIG_INVALID: given.yaml: markets.A-B.pools: "),
        ("markets: {A-B: {}}", "CONFIG_INVALID: given.yaml: markets.A-B.pools: "),
        ("- a list", "CONFIG_INVALID: given.yaml is no mapping"),
        ("1: 2", "CONFIG_INVALID: given.yaml is no mapping"),
        ("execution: {", "CONFIG_INVALID: given.yaml line "),
        ("a: 1\na: 2", "CONFIG_INVALID: given.yaml line 1 is no YAML (the key a stands twice)"),
        (
            "execution: {retry_delay: .nan}",
            "CONFIG_INVALID: given.yaml line 1 is no YAML (a number",
        ),
        (
            "execution: {retry_delay: 1:20.5}",
            "CONFIG_INVALID: given.yaml line 1 is no YAML (a numb",
        ),
        (
            "wallet: {secret_key: x}",
            "CONFIG_SECRET: given.yaml: wallet.secret_key is a secret; set S",
        ),
    ],
)
def test_a_mistake_in_the_file(text: str, line: str) -> None:
    """Each is told by file and key, or line, never by its value."""
    assert refused(text).startswith(line)


def test_a_file_that_is_no_text() -> None:
    """Bytes that are no UTF-8 are no settings."""
    Path("given.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StartupError, match=r"^CONFIG_INVALID: given.yaml is no YAML"):
        load_settings(Path("given.yaml"))


def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said so, with the system's reason; a file that is not there is another case."""

    def deny(_path: Path, **_: object) -> str:
        raise PermissionError(13, "Permission denied")

    Path("given.yaml").write_text("")
    monkeypatch.setattr(Path, "read_text", deny)
    with pytest.raises(StartupError, match=r"^CONFIG_UNREADABLE: .*Permission denied"):
        load_settings(Path("given.yaml"))
    with pytest.raises(StartupError, match=r"^CONFIG_MISSING: .*missing.yaml does not exist"):
        load_settings(Path("missing.yaml"))


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "SYNERGY7_SERVR__PORT",
            "1",
            "CONFIG_UNKNOWN: the environment variable SYNERGY7_SERVR__PORT",
        ),
        (
            "SYNERGY7_SERVER__PROT",
            "1",
            "CONFIG_UNKNOWN: the environment variable SYNERGY7_SERVER__PR",
        ),
        (
            "SYNERGY7_SERVER_PORT",
            "1",
            "CONFIG_UNKNOWN: the environment variable SYNERGY7_SERVER_PORT",
        ),
        (
            "SYNERGY7_NETWORK__X",
            "1",
            "CONFIG_UNKNOWN: the environment variable SYNERGY7_NETWORK__X ",
        ),
        (
            "SYNERGY7_SERVER__PORT__X",
            "1",
            "CONFIG_UNKNOWN: the environment variable SYNERGY7_SERVER",
        ),
        ("SYNERGY7_", "1", "CONFIG_UNKNOWN: the environment variable SYNERGY7_ names no setting"),
        ("synergy7_servr", "1", "CONFIG_UNKNOWN: the environment variable synergy7_servr names no"),
        (
            "SYNERGY7_SERVER__PORT",
            "x",
            "CONFIG_INVALID: the environment variable SYNERGY7_SERVER__P",
        ),
        (
            "SYNERGY7_SERVER",
            "x",
            "CONFIG_INVALID: the environment variable SYNERGY7_SERVER is no JS",
        ),
        (
            "SYNERGY7_METHODS__OPTIONS",
            "x",
            "CONFIG_INVALID: the environment variable SYNERGY7_METHO",
        ),
        (
            "SYNERGY7_METHODS__ORDER",
            "[rpc",
            "CONFIG_INVALID: the environment variable SYNERGY7_METH",
        ),
        (
            "SYNERGY7_SERVER",
            '{"prot": 1}',
            "CONFIG_UNKNOWN: the environment variable SYNERGY7_SERVER: server.prot names no setting",
        ),
        (
            "SYNERGY7_EXECUTION__RETRY_DELAY",
            "nan",
            "CONFIG_INVALID: the environment variable SYNERGY7_EXECUTION__RETRY_DELAY: ",
        ),
    ],
)
def test_a_mistake_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, line: str
) -> None:
    """Each is told by the variable, never by its value."""
    monkeypatch.setenv(variable, value)
    assert refused().startswith(line)


def test_other_programs_variables_are_no_ones_business(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the prefix is ours."""
    monkeypatch.setenv("SYNERGY_SERVER__PORT", "x")
    assert load("") == Settings()


# ---------------------------------------------------------------- documentation


def keys(section: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, object]]:
    """Give every key of the tree with its default; tokens and markets count as keys of their own."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys(kind, f"{path}{name}.")
        else:
            yield f"{path}{name}", field.get_default()


def shown(default: object) -> str:
    """Write a default as the documentation does."""
    match default:
        case None | SecretStr():
            return "none"
        case bool():
            return str(default).lower()
        case tuple():
            return f"[{', '.join(map(str, default))}]"
        case Mapping():
            return "{}"
        case _:
            return str(default)


def test_every_key_is_documented_with_its_default_and_its_variable() -> None:
    """docs/configuration.md has a row for each key of the tree, and no row besides."""
    row = re.compile(
        r"^\| `([a-z0-9_.]+)` \| `([^`]*)` \| `([A-Z0-9_]+)` \| (.+) \|$", re.MULTILINE
    )
    rows = {
        key: (default, name) for key, default, name, _ in row.findall(DOCUMENTATION.read_text())
    }
    assert rows == {key: (shown(default), variable_of(*key.split("."))) for key, default in keys()}


def test_entries_of_tokens_markets_and_strategies_are_documented() -> None:
    """Their inner keys stand in the documentation too."""
    text = DOCUMENTATION.read_text()
    for name in ("tokens", "markets", "strategies"):
        annotation: Any = Settings.model_fields[name].annotation
        assert get_origin(annotation) is Mapping
        for inner in annotation.__args__[1].model_fields:
            assert f"`{inner}`" in text


def test_every_key_of_the_shipped_file_is_a_variable_too() -> None:
    """The rule that its comment gives names each key's variable."""
    assert variable_of("server", "port") == "SYNERGY7_SERVER__PORT"
    assert "SYNERGY7_SERVER__PORT=8001" in SHIPPED_CONFIG.read_text()
