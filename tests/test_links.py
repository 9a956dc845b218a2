"""Documentation: every link to a page of ours, and to a section of it, leads somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUNBOOKS = ROOT / "deploy" / "prometheus" / "alerts.yml"
_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
_RUNBOOK = re.compile(r"(docs/\w+\.md#[\w-]+)")


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def broken(links: Iterator[str], folder: Path, page: Path) -> list[str]:
    """Give the links that lead nowhere."""
    lost = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = (folder / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading that it has."""
    assert broken(iter(_LINK.findall(page.read_text())), page.parent, page) == []


def test_every_alert_has_its_runbook() -> None:
    """An alert at night names a section that is there."""
    named = _RUNBOOK.findall(RUNBOOKS.read_text())
    assert named
    assert broken(iter(named), ROOT, RUNBOOKS) == []
