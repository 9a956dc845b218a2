"""The page about senders says what the code does."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.executors.sender_options import KeepAlive, KeyPlace, SenderOptions, TipRule
from app.executors.sender_presets import PRESETS
from app.executors.sender_section import sender_options

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "senders.md").read_text()
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `")]
SNIPPETS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def cells(name: str) -> list[str]:
    """Give the row of the table of presets."""
    (row,) = [row for row in ROWS if row[0].strip() == f"`{name}`" and len(row) == 6]
    return [cell.strip() for cell in row]


def figure(text: str) -> int:
    """Read the first number of a cell; 0 without one."""
    found = re.search(r"[\d,]+", text)
    return int(found[0].replace(",", "")) if found else 0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_its_row(name: str) -> None:
    """Regions, the key's place, floors and pace are those of the code."""
    _, regions, key, tip, price, pace = cells(name)
    options = sender_options(name, {"preset": name, "url": "https://x.example", "api_key": "k"})
    assert options.key is not None
    known = PRESETS[name].regions
    assert (regions.replace("`", "").split() == list(known)) == bool(known)
    assert ("`global`" in regions) == (PRESETS[name].usual == ("global",))
    assert (f"{options.key.where} `{options.key.name}`" in key) == (options.key.where != "path")
    assert ("only for" in key or "unless" in key) != options.key.required
    assert figure(tip) == options.tip.min_lamports
    floor = options.tip.min_priority_fee_lamports or options.tip.min_unit_price
    assert figure(price) == floor or (floor, price) == (1, "any above 0")
    assert figure(pace) == (options.rps or 0)


def paths() -> set[str]:
    """Give every key that a section may have, dotted."""
    found = {"preset", "regions", "url"}
    parts: dict[str, Any] = {"key": KeyPlace, "keepalive": KeepAlive, "tip": TipRule}
    for each in dataclasses.fields(SenderOptions):
        default = each.default if dataclasses.is_dataclass(each.default) else None
        part = parts.get(each.name, default)
        if part is None:
            found.add(each.name)
        else:
            found |= {f"{each.name}.{inner.name}" for inner in dataclasses.fields(part)}
    return found


def test_every_key_is_on_the_page_and_no_other() -> None:
    """In the table of keys."""
    named = {key for row in ROWS if len(row) == 3 for key in re.findall(r"`([a-z_.]+)`", row[0])}
    assert named == paths()


def test_every_snippet_is_a_section_that_is_read() -> None:
    """With a key where the sender wants one."""
    sections = [each for text in SNIPPETS for each in text["methods"]["senders"].items()]
    assert len(sections) >= 5
    for name, section in sections:
        takes = name != "mine"
        assert sender_options(name, {**section, **({"api_key": "k"} if takes else {})}).urls
