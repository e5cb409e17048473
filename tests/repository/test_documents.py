"""README is short, lines of prose fit a screen, and relative links in Markdown files lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WIDTH = 110
README_LINES = 80
SKIPPED = {".venv", ".snakemake", "site", "build"}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    """Return every Markdown file of the repository, without results, downloads and environments."""
    kept = {"results": 2, "resources": 2}  # only the README at the top of these folders
    parts = ((path, path.relative_to(ROOT).parts) for path in ROOT.rglob("*.md"))
    return sorted(
        path for path, names in parts if not SKIPPED & set(names) and len(names) <= kept.get(names[0], len(names))
    )


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines outside code, tables and generated parts; a link or an image alone is no prose."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.startswith("|") and not re.fullmatch(r"[-*\s]*!?\[[^\]]*\]\([^)]*\)[.]?", line):
            yield number, line


def anchors(text: str) -> set[str]:
    """Return the anchors of all headings, as GitHub and MkDocs form them."""
    headings = (line.lstrip("#").strip() for _, line in prose(text) if line.startswith("#"))
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-") for heading in headings}


def dead_links(path: Path) -> list[str]:
    """Return the relative links of a file whose file or heading does not exist."""
    found = []
    for _, line in prose(path.read_text(encoding="utf-8")):
        for link in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            place, _, heading = link.partition("#")
            if re.match(r"[a-z]+:", place):
                continue
            target = (path.parent / place).resolve() if place else path
            if not target.exists() or (heading and heading not in anchors(target.read_text(encoding="utf-8"))):
                found.append(link)
    return found


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("path", documents(), ids=names)
def test_lines_of_prose_are_short(path: Path) -> None:
    lines = prose(path.read_text(encoding="utf-8"))
    assert [f"{names(path)}:{number}: {len(line)}" for number, line in lines if len(line) > WIDTH] == []


@pytest.mark.parametrize("path", documents(), ids=names)
def test_relative_links_lead_to_a_file_or_a_heading(path: Path) -> None:
    assert dead_links(path) == []


def test_a_dead_link_and_a_long_line_are_found(tmp_path: Path) -> None:
    """The two checks above can fail."""
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\n[gone](gone.md) [no heading](#b-page) [here](#a-page)\n\n{'word ' * 30}\n")
    assert dead_links(page) == ["gone.md", "#b-page"]
    assert [len(line) > WIDTH for _, line in prose(page.read_text())] == [False, False, False, False, True]


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"[\w-]+\.md", yaml.dump(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
