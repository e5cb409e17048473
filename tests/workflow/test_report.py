"""The report of a study whose title is code in every format: each shows it as text, and nothing of it runs."""

import json
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from workspace import TINY, Workspace

pytestmark = pytest.mark.end_to_end

TITLE = (
    r"T</script><script>alert(1)</script> {{ 7*7 }} {% x %} \input{/etc/passwd} | a | b | <img src=x onerror=alert(2)> "
    r"`c` $x_1^2$ a_b 100 % ~ & <!--"
)
FIGURES = (
    "audit",
    "classification",
    "confusion",
    "training",
    "panels",
    "controls",
    "lesion_size",
    "accuracy_faithfulness",
)
TABLES = ("maps", "classification", "pairs", "ranks", "summary", "verdict")


PAGE_TAGS = {"meta", "title", "style", "table", "thead", "tbody", "tr", "th", "td"}


class Page(HTMLParser):
    """Tags, text and the scripts of a page, as a browser splits it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.scripts += [""] * (tag == "script")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def test_a_title_is_text_wherever_a_study_is_shown(spoilable: Workspace) -> None:
    before = spoilable.folder / "before.html"
    spoilable.snakemake("--report", before.name)
    spoilable.edit(TINY, "study: tiny\n", f"study: tiny\ntitle: {json.dumps(TITLE)}\n")
    assert set(spoilable.planned()) == {"figure", "table", "provenance"}
    spoilable.snakemake()
    after = spoilable.folder / "after.html"
    spoilable.snakemake("--report", after.name)

    usual, page = (Page(path.read_text()) for path in (before, after))
    assert page.tags == usual.tags
    assert page.text == usual.text
    (landing,) = [script for script in page.scripts if script.strip().startswith("var workflow_desc = ")]
    first = Page(json.loads(landing.strip().removeprefix("var workflow_desc = ").removesuffix(";")))
    summary = Page((spoilable.results / "tables/summary.html").read_text())
    assert " ".join(summary.text.split()) in " ".join(first.text.split())
    assert set(first.tags) <= {"main", "h1", "h2", "div", "p", "strong", "ul", "li", "sup", *PAGE_TAGS}
    (shown,) = [script for script in page.scripts if script.strip().startswith("var results = ")]
    results = json.loads(shown.strip().removeprefix("var results = ").removesuffix(";"))
    captions = [Page(result["caption"]) for result in results.values()]
    assert len(captions) == len(FIGURES) + len(TABLES)
    assert all("title" not in result["job_properties"]["params"] for result in results.values()), "a dump of settings"
    mime = {path.rsplit("/", 1)[-1]: result["mime_type"] for path, result in results.items()}
    assert all(mime[f"{name}.html"] == "text/html" for name in TABLES), "the eye would download it"
    for caption in captions:
        assert set(caption.tags) <= {"p", "strong", "em"}
        assert f": {' '.join(TITLE.split())}." in " ".join(caption.text.split())

    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for name in TABLES:
        table = spoilable.results / "tables" / name
        text = Page(markdown.render(table.with_suffix(".md").read_text()))
        assert set(text.tags) <= {"h1", "h2", "p", "sup", "br", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
        assert TITLE in text.text
        shown = Page(table.with_suffix(".html").read_text())
        assert set(shown.tags) <= {"main", "h1", "h2", "p", "sup", "ul", "li", "div", *PAGE_TAGS}
        assert TITLE in shown.text
        first = table.with_suffix(".tex").read_text().split("\n")[0]
        assert r"\textbackslash{}input\{/etc/passwd\}" in first
        assert not re.search(r"(?<!\\)[%$#&_]|[~^<>|`]", first.removeprefix("% "))
