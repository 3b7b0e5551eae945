"""Reading the pages of docs/: their headings, and the tables below each."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.contract.image import ROOT

HEADING = re.compile(r"(#{1,6}) (.+)")
CELL = re.compile(r"(?<!\\)\|")


@dataclass
class Section:
    heading: str
    level: int
    text: str = ""
    tables: list[list[dict[str, str]]] = field(default_factory=list)
    """Each a list of rows: column name to cell."""

    @property
    def table(self) -> list[dict[str, str]]:
        """The only one."""
        [table] = self.tables
        return table


def sections(page: Path) -> dict[str, Section]:
    """By heading; backticks are left out of it. A heading that is there twice is a mistake."""
    found: dict[str, Section] = {}
    current = Section("", 0)
    fenced = False
    for line in page.read_text().splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else HEADING.fullmatch(line)
        if heading:
            current = Section(plain(heading[2]), len(heading[1]))
            assert current.heading not in found, f"{page.name}: {current.heading} is there twice"
            found[current.heading] = current
        else:
            current.text += line + "\n"
    for section in found.values():
        section.tables = _tables(section.text)
    return found


def doc(name: str) -> dict[str, Section]:
    return sections(ROOT / "docs" / name)


def code(cell: str) -> list[str]:
    """What is in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def plain(text: str) -> str:
    return text.replace("`", "").strip()


def _tables(text: str) -> list[list[dict[str, str]]]:
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    found = []
    for block in blocks:
        names, _, *rows = [[cell.strip() for cell in CELL.split(line)[1:-1]] for line in block.strip().splitlines()]
        found.append([dict(zip(names, row, strict=True)) for row in rows])
    return found
