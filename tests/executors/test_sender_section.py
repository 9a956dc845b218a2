"""A sender's section of the configuration: over a preset or by itself, and what is wrong with it by key."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.domain.errors import StartupError
from app.engine.ports import Privacy
from app.executors.sender_options import Body, SenderOptions, TipRule
from app.executors.sender_presets import PRESETS
from app.executors.sender_section import sender_options
from app.executors.tip_accounts import TIP_ACCOUNTS

KEY = "s3cret-key"
HERE = "https://sender.example/secret-path"
ACCOUNT = TIP_ACCOUNTS["helius"][0]
REGIONS = {
    "helius": (
        "http://{}-sender.helius-rpc.com",
        "slc ewr lon fra ams sg tyo",
        "https://sender.helius-rpc.com",
    ),
    "helius_swqos": (
        "http://{}-sender.helius-rpc.com",
        "slc ewr lon fra ams sg tyo",
        "https://sender.helius-rpc.com",
    ),
    "nozomi": (
        "https://{}.nozomi.temporal.xyz",
        "pit1 ewr1 ash1 lax1 fra2 ams1 lon1 tyo1 sgp1 edge",
        "https://nozomi.temporal.xyz",
    ),
    "astralane": (
        "https://{}.gateway.astralane.io",
        "fr fr2 la jp ny ams ams2 lim sg lit",
        "https://edge.astralane.io",
    ),
    "0slot": ("https://{}.0slot.trade", "ny de ams jp la", None),
    "nextblock": (
        "https://{}.nextblock.io",
        "frankfurt amsterdam london singapore tokyo ny slc dublin vilnius",
        None,
    ),
    "bloxroute": (
        "https://{}.solana.dex.blxrbdn.com",
        "ny uk germany amsterdam tokyo la",
        None,
    ),
}


def read(**section: Any) -> SenderOptions:
    """Read a section."""
    return sender_options("mine", section)


def refused(**section: Any) -> str:
    """Read what must be refused; gives the line."""
    with pytest.raises(StartupError) as caught:
        read(**section)
    return str(caught.value)


@pytest.mark.parametrize("preset", REGIONS)
def test_the_regions_of_a_preset_are_its_vendors(preset: str) -> None:
    """Each by its name; the one for all where the vendor has one, else some must be named."""
    template, names, usual = REGIONS[preset]
    regions = names.split()
    options = read(preset=preset, regions=regions, api_key=KEY)
    assert options.urls == tuple(template.format(name) for name in regions)
    if usual is None:
        line = refused(preset=preset, api_key=KEY)
        assert line.startswith("METHOD_NOT_CONFIGURED: methods.senders.mine.regions is not set")
        assert all(name in line for name in regions)
    else:
        assert read(preset=preset, api_key=KEY).urls == (usual,)
        assert read(preset=preset, regions="global", api_key=KEY).urls == (usual,)


def test_every_preset_can_be_used() -> None:
    """With a key and an address; a name that is shown, and never the key."""
    for name in PRESETS:
        options = read(preset=name, api_key=KEY, url=HERE)
        assert options.urls == (HERE,)
        keyed = f"{options.keyed(HERE)} {options.all_headers}"
        assert keyed.count(KEY) == 1
        assert KEY not in repr(options)
        assert "secret-path" not in repr(options)
    assert set(PRESETS) == {*REGIONS, "triton"}


def test_what_may_hold_a_key_is_not_shown() -> None:
    """A service of one's own takes its key wherever it likes."""
    hush = {"token": "hush"}
    options = read(
        url="https://sender.example/hush",
        path="/hush",
        query=hush,
        headers=hush,
        json_template=hush,
        rpc_options=hush,
        rpc_extra_params=[hush],
        keepalive={"path": "/hush"},
    )
    assert options.headers == hush
    assert "hush" not in repr(options) + str(options)


@pytest.mark.parametrize(
    ("preset", "tip", "rps"),
    [
        ("helius", TipRule(TIP_ACCOUNTS["helius"], 1_000_000, 0, 1, 5_000), 15),
        ("helius_swqos", TipRule(TIP_ACCOUNTS["helius"], 5_000, 0, 1, 0), 15),
        ("nozomi", TipRule(TIP_ACCOUNTS["nozomi"], 1_000_000, 0, 1_000_000, 0), None),
        ("astralane", TipRule(TIP_ACCOUNTS["astralane"], 1_000_000), 5),
        ("0slot", TipRule(TIP_ACCOUNTS["0slot"], 1_000_000), 5),
        ("nextblock", TipRule(TIP_ACCOUNTS["nextblock"], 1_000_000), None),
        ("bloxroute", TipRule(TIP_ACCOUNTS["bloxroute"], 1_000_000), None),
        ("triton", TipRule(), None),
    ],
)
def test_what_a_preset_wants_and_allows(preset: str, tip: TipRule, rps: float | None) -> None:
    """Floors in lamports and micro-lamports, pushes a second."""
    options = read(preset=preset, api_key=KEY, url=HERE)
    assert options.tip == tip
    assert options.rps == rps
    assert options.privacy is Privacy.PUBLIC
    assert options.retries_internally == (preset == "nozomi")


def test_a_key_is_laid_over_the_presets() -> None:
    """A mapping joins the preset's, anything else takes its place, null takes it away."""
    options = read(
        preset="helius",
        tip={"lamports": 2_000_000},
        rpc_options={"maxRetries": 3},
        error_rules=[],
        keepalive=None,
        rps=None,
    )
    assert options.tip == TipRule(TIP_ACCOUNTS["helius"], 1_000_000, 2_000_000, 1, 5_000)
    assert options.rpc_options == {"encoding": "base64", "skipPreflight": True, "maxRetries": 3}
    assert (options.error_rules, options.keepalive, options.rps) == ((), None, None)
    assert read(preset="helius").rps == 15


def test_values_are_read_as_the_environment_and_the_file_have_them() -> None:
    """Texts and decimals for numbers, names with commas between for lists."""
    options = read(
        urls=f"{HERE}/1, {HERE}/2",
        rps=Decimal("2.5"),
        retries_internally="true",
        body="text_b64",
        tip={"accounts": ACCOUNT, "min_lamports": "5000", "min_unit_price": Decimal(7)},
        privacy="private",
        api_key=12345,
        key={"where": "query", "name": "k"},
        query={"fast": True, "level": 3},
    )
    assert (options.api_key, options.sending_path) == ("12345", "?fast=true&level=3")
    assert options.urls == (f"{HERE}/1", f"{HERE}/2")
    assert (options.rps, options.retries_internally, options.body) == (2.5, True, Body.TEXT_B64)
    assert options.tip == TipRule((ACCOUNT,), 5_000, 0, 7, 0)
    assert options.privacy is Privacy.PRIVATE
    regions = read(preset="0slot", regions="ny, de", api_key=KEY)
    assert [urlsplit(url).hostname for url in regions.urls] == ["ny.0slot.trade", "de.0slot.trade"]


LACKING = [
    ({}, "urls"),
    ({"preset": "triton"}, "urls"),
    ({"preset": "nozomi"}, "api_key"),
    ({"preset": "nextblock", "regions": ["ny"]}, "api_key"),
    ({"preset": "bloxroute", "regions": ["ny"], "api_key": None}, "api_key"),
    ({"url": HERE, "key": {"where": "query", "name": "k"}}, "api_key"),
    ({"url": HERE, "error_rules": [{"http": 500, "reason": "x"}]}, "error_rules.0.outcome"),
]
UNKNOWN = [
    ({"url": HERE, "urll": HERE}, "urll"),
    ({"url": HERE, "tip": {"minimum": 5}}, "tip.minimum"),
    ({"url": HERE, "timeout_ms": 5}, "timeout_ms"),
]
TIP = {"accounts": [ACCOUNT], "min_lamports": 1}
INVALID: list[tuple[Mapping[str, Any], str]] = [
    ({"preset": "jito"}, "preset"),
    ({"preset": ["helius"]}, "preset"),
    ({"preset": "helius", "regions": ["fra", "moon"]}, "regions"),
    ({"preset": "helius", "regions": []}, "regions"),
    ({"preset": "helius", "regions": 5}, "regions"),
    ({"preset": "triton", "regions": ["fra"]}, "regions"),
    ({"preset": "helius", "regions": ["fra", "fra"]}, "urls"),
    ({"preset": "helius", "regions": ["fra"], "urls": [HERE]}, "regions"),
    ({"url": HERE, "urls": [HERE]}, "urls"),
    ({"urls": []}, "urls"),
    ({"url": "sender.example"}, "urls.0"),
    ({"url": "ftp://sender.example"}, "urls.0"),
    ({"url": "https://"}, "urls.0"),
    ({"url": "https://sender.example/#x"}, "urls.0"),
    ({"url": HERE, "path": "no-slash"}, "path"),
    ({"url": HERE, "path": "/with space"}, "path"),
    ({"url": HERE, "path": "/x#y"}, "path"),
    ({"url": HERE, "headers": {"x": "a\r\nb: c"}}, "headers.x"),
    ({"url": HERE, "headers": {"x": f"{KEY}\n"}}, "headers.x"),
    ({"url": HERE, "headers": {"x": f" {KEY}"}}, "headers.x"),
    ({"url": HERE, "headers": {"x": ""}}, "headers.x"),
    ({"url": HERE, "headers": {"x y": KEY}}, "headers.x y.[key]"),
    ({"url": HERE, "query": {"x": [1]}}, "query.x"),
    ({"url": HERE, "api_key": "a\nb"}, "api_key"),
    ({"preset": "astralane", "api_key": ""}, "api_key"),
    ({"preset": "helius", "api_key": ""}, "api_key"),
    ({"preset": "helius", "api_key": f"{KEY}\n"}, "api_key"),
    ({"preset": "helius", "api_key": f" {KEY}"}, "api_key"),
    ({"url": HERE, "api_key": KEY}, "key"),
    ({"url": HERE, "key": {"where": "body"}}, "key.where"),
    ({"url": HERE, "api_key": KEY, "key": {"where": "header"}}, "key.name"),
    ({"url": HERE, "api_key": KEY, "key": {"where": "query", "name": "a b"}}, "key.name"),
    ({"url": HERE, "body": "xml"}, "body"),
    ({"url": HERE, "body": "json"}, "json_template"),
    ({"url": HERE, "body": "json", "json_template": {"tx": "TX"}}, "json_template"),
    ({"url": HERE, "body": "json", "json_template": {"$TX_B64": 1}}, "json_template"),
    ({"url": HERE, "body": "json", "json_template": {"a": {1, 2}}}, "json_template"),
    ({"url": HERE, "rpc_options": {"x": Decimal("0.5")}}, "rpc_options"),
    ({"url": HERE, "rpc_method": ""}, "rpc_method"),
    ({"url": HERE, "success": {"kind": "maybe"}}, "success.kind"),
    ({"url": HERE, "success": {"kind": "json_path"}}, "success.path"),
    ({"url": HERE, "error_rules": [{"outcome": "rejected", "reason": "x"}]}, "error_rules.0"),
    ({"url": HERE, "error_rules": [{"http": 1, "outcome": "not_sent", "reason": "x"}]},
     "error_rules.0.outcome"),
    ({"url": HERE, "error_rules": [{"http": 1, "outcome": "accepted", "reason": "x"}]},
     "error_rules.0.outcome"),
    ({"url": HERE, "error_rules": [{"http": 1, "outcome": "unknown", "reason": "No Word"}]},
     "error_rules.0.reason"),
    ({"url": HERE, "error_rules": [{"message": "(", "outcome": "unknown", "reason": "x"}]},
     "error_rules.0.message"),
    ({"url": HERE, "retry_after": {"message_regex": "("}}, "retry_after.message_regex"),
    ({"url": HERE, "rps": 0}, "rps"),
    ({"url": HERE, "rps": "inf"}, "rps"),
    ({"url": HERE, "keepalive": {"path": "/ping", "every_s": 15}}, "keepalive.every_s"),
    ({"url": HERE, "keepalive": {"path": "/ping", "http_method": "PUT"}}, "keepalive.http_method"),
    ({"url": HERE, "tip": {**TIP, "accounts": [ACCOUNT[:-1]]}}, "tip.accounts.0"),
    ({"url": HERE, "tip": {**TIP, "accounts": [ACCOUNT, "0" * 44]}}, "tip.accounts.1"),
    ({"url": HERE, "tip": {**TIP, "accounts": [ACCOUNT, ACCOUNT]}}, "tip.accounts"),
    ({"url": HERE, "tip": {"min_lamports": 1}}, "tip.accounts"),
    ({"url": HERE, "tip": {**TIP, "min_lamports": -1}}, "tip.min_lamports"),
    ({"url": HERE, "tip": {**TIP, "min_lamports": 100_000_001}}, "tip.min_lamports"),
    ({"url": HERE, "tip": {**TIP, "min_lamports": "0.5"}}, "tip.min_lamports"),
    ({"url": HERE, "tip": {"min_unit_price": 50_000_001}}, "tip.min_unit_price"),
    ({"url": HERE, "privacy": "secret"}, "privacy"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "section", "key"),
    [
        *(("METHOD_NOT_CONFIGURED", section, key) for section, key in LACKING),
        *(("CONFIG_UNKNOWN", section, key) for section, key in UNKNOWN),
        *(("CONFIG_INVALID", section, key) for section, key in INVALID),
    ],
)
def test_a_mistake_is_refused_by_sender_and_key(
    code: str, section: Mapping[str, Any], key: str
) -> None:
    """In one line that has none of the values: any of them may be a secret."""
    line = refused(**section)
    assert line.startswith(f"{code}: methods.senders.mine.{key}")
    assert line.endswith("; see docs/senders.md")
    assert line[len(code) + len(f": methods.senders.mine.{key}")] in ": "
    assert "\n" not in line
    assert not any(secret in line for secret in (KEY, "secret-path", ACCOUNT[:-1]))
