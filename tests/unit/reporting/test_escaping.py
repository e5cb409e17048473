"""Texts that a study, a folder or a file chose: every format shows them as they are, and none of them does anything."""

import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from matplotlib.text import Text
from small_study import ABOUT

from gradfaith import registry
from gradfaith.reporting import escaping
from gradfaith.reporting.figures import theme
from gradfaith.reporting.tables import contract as sheets
from gradfaith.reporting.tables.contract import Block, Cell, Sheet

HOSTILE = [
    "T</script><script>alert(1)</script>",
    "<!-- <script>",
    "{{ 7*7 }}",
    "{% raw %} {# x #}",
    r"\input{/etc/passwd}",
    "T\n\\input{/etc/passwd}\n\n<b>x</b>",
    "| a | b |",
    "a \\| b \\",
    "<img src=x onerror=alert(1)>",
    "</td></tr></table>",
    "<https://x.org> [x](javascript:alert(1)) ![x](y) [x][y] [^1]",
    "[x]: javascript:alert(1)",
    "`code` ``more``",
    ":raw-html:`<b>` `x`_ x_ |x| [1]_ .. raw:: html",
    "$x_1^2$",
    "a_b _c_ __d__ a__b_",
    "*a* **b** ~c~ ~~d~~",
    "100 %",
    "~ ^ # & &lt; &#60;",
    "# head #",
    "[0.1, 0.2]",
    "*",
    "\u202egnp.exe\u2066",
    "a\x00b\x1b[2J",
    "a\u2028b\x85c",
    "name-\udc80",
    "plain (text) of 0.5 [0.4, 0.6], p < 0.001 & more",
]
HOSTILE_NAMES = [text.encode("ascii", "backslashreplace").decode() for text in HOSTILE]
every_text = pytest.mark.parametrize("text", HOSTILE, ids=HOSTILE_NAMES)
GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


class Page(HTMLParser):
    """The text and the tags of an HTML page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def words(text: str) -> str:
    return " ".join(text.split())


@every_text
def test_one_line_is_one_visible_line(text: str) -> None:
    line = escaping.one_line(text)
    assert line.splitlines() == [line]
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line)
    line.encode()


@every_text
@pytest.mark.parametrize("frame", ["x {}", "x {} x", "# {}", "**{}.**"])
def test_markdown_shows_a_text_as_it_is(text: str, frame: str) -> None:
    page = Page(GITHUB.render(frame.format(escaping.markdown(text))))
    shown = escaping.one_line(text)
    assert words(page.text) == words(frame.strip("#* ").format(shown))
    assert page.tags == (["h1"] if frame.startswith("#") else ["p", "strong"] if "**" in frame else ["p"])


@every_text
@pytest.mark.parametrize("code", [False, True])
def test_a_cell_of_a_markdown_table_stays_one_cell(text: str, code: bool) -> None:
    shown = escaping.markdown(text, code=code)
    page = Page(GITHUB.render(f"| h | i |\n|---|---|\n| {shown} | end |\n"))
    assert page.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", *["code"] * code, "td"]
    assert words(page.text) == words(f"h i {escaping.one_line(text)} end")


@every_text
def test_latex_prints_a_text_as_it_is(text: str) -> None:
    written = escaping.latex(text)
    shown = escaping.one_line(text)
    commands = {value: key for key, value in escaping.LATEX.items() if key != escaping.HIDDEN_SIGN} | {"{}": ""}
    token = re.compile("|".join(map(re.escape, sorted(commands, key=len, reverse=True))))
    assert token.sub("", written) == re.sub(r"[\\&%$#_{}~^<>|`]", "", shown).replace(escaping.HIDDEN_SIGN, "?")
    assert token.sub(lambda found: commands[found[0]], written) == shown.replace(escaping.HIDDEN_SIGN, "?")
    assert not written.startswith(("[", "*")), "an argument of the row's end before it"


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@every_text
def test_a_caption_shows_a_text_as_it_is(text: str) -> None:
    caption = Environment(undefined=StrictUndefined).from_string(
        "**A: {{ about.title.rst }}.**\nSee *x* {{ about.title.rst }}."
    )
    rendered = caption.render(about=escaping.report_texts({"title": text}))
    settings = {"report_level": 1, "halt_level": 2}
    page = Page(publish_parts(rendered, writer_name="html", settings_overrides=settings)["body"])
    shown = escaping.one_line(text)
    assert words(page.text) == words(f"A: {shown}. See x {shown}.")
    assert page.tags == ["p", "strong", "em"]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("text", [HOSTILE[0], HOSTILE[5], HOSTILE[13]], ids=["script", "line break", "role"])
def test_no_caption_does_anything_with_a_text_but_show_it(text: str) -> None:
    """Every text that a caption can write, and every option, is hostile."""
    plugins = [(group, name) for group in ("figures", "tables") for name in registry.names(group)]
    assert len(plugins) > 15
    for group, name in plugins:
        caption = (registry.PACKAGE.parents[0] / "report" / group / f"{name}.rst").read_text()
        options = {key: option.default for key, option in registry.entry(group, name).options.items()}
        options |= {key: text for key, value in options.items() if isinstance(value, str)}
        options |= {key: (text,) for key, value in options.items() if isinstance(value, tuple)}
        about = ABOUT | {
            "title": text,
            "classes": [text],
            "architectures": [text],
            "primary": dict.fromkeys(ABOUT["primary"], text),
        }
        params = escaping.report_texts({"about": about, "settings": {"use": name, "options": options}})
        rendered = Environment(undefined=StrictUndefined).from_string(caption).render(snakemake={"params": params})
        settings = {"report_level": 1, "halt_level": 2}
        page = Page(publish_parts(rendered, writer_name="html", settings_overrides=settings)["body"])
        assert set(page.tags) <= {"p", "strong", "em"}, name
        assert words(escaping.one_line(text)) in words(page.text)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("choice", ["median", "random"])
def test_captions_keep_their_spaces_as_snakemake_renders_them(choice: str) -> None:
    """Snakemake drops the line break after a Jinja block, so a block at the end of a line glues two sentences together."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    plugins = [(group, name) for group in ("figures", "tables") for name in registry.names(group)]
    for group, name in plugins:
        caption = (registry.PACKAGE.parents[0] / "report" / group / f"{name}.rst").read_text()
        options = {key: option.default for key, option in registry.entry(group, name).options.items()}
        options |= {"methods": ("gradcam",)} if "methods" in options else {}
        options |= {"choice": choice} if "choice" in options else {}
        params = escaping.report_texts({"about": ABOUT, "settings": {"use": name, "options": options}})
        rendered = environment.from_string(caption).render(snakemake={"params": params})
        said = Page(publish_parts(rendered, writer_name="html")["body"]).text
        assert re.findall(r"[a-z)][.:;?!][A-Z]|  |\[\]|\(\)|\{|'\w+':", said) == [], name
        assert said.rstrip().endswith("Not for clinical use."), name


def test_the_report_prints_no_settings_and_snakemake_still_compares_them() -> None:
    params = escaping.report_texts({"about": {"title": "t", "seeds": [0, 1]}})
    assert f"about={params['about']}" == "about=as in the study's file"
    assert repr(params["about"]) == '{"title": "t", "seeds": [0, 1]}'


@every_text
def test_parameters_of_a_rule_cannot_end_the_script_that_shows_them(text: str) -> None:
    params = escaping.report_texts({"about": {"title": text, "classes": [text, "b"], "pair": (text,), text: 1}, "n": 2})
    page = Page(
        f"<script>var results = {json.dumps(', '.join(f'{k}={v}' for k, v in params.items()))};</script><p>end</p>"
    )
    assert page.tags == ["script", "p"]
    assert page.text.endswith(";end")
    assert params["about"]["title"] == text
    assert isinstance(params["about"]["pair"], tuple)


@every_text
def test_a_figure_shows_a_text_as_it_is(text: str) -> None:
    shown = escaping.one_line(text)
    with theme.use_theme():
        page = theme.new_page(1)
        axes = page.subplots()
        axes.set(title=shown, xlabel=shown, xticks=[0.5], xticklabels=[shown])
        page.canvas.draw()
        assert not [words for words in page.findobj(Text) if words.get_parse_math()]
        assert axes.title.get_text() == "" or axes.get_title() == shown


def test_a_table_of_hostile_texts_is_a_table_in_every_format() -> None:
    rows = [[Cell(text, f"why {text}"), Cell("0.5")] for text in HOSTILE]
    sheet = Sheet(HOSTILE[0], HOSTILE, [Block(text, [text, "b"], rows) for text in HOSTILE], pd.DataFrame())
    sheet = sheets.add_caution(sheet, HOSTILE[5])
    page = Page(GITHUB.render(sheets.markdown(sheet)))
    assert set(page.tags) == {"h1", "h2", "p", "strong", "sup", "table", "thead", "tbody", "tr", "th", "td", "br"}
    assert page.tags.count("table") == page.tags.count("h2") == len(HOSTILE)
    assert page.tags.count("td") == 2 * len(HOSTILE) ** 2
    lines = sheets.latex(sheet).split("\n")
    assert not [line for line in lines if re.search(r"\\input|<|^[^%\\].*\$[^\\]", line)]
    rows_of_tex = [line for line in lines if line.endswith(r" \\")]
    assert all(line.replace(r"\&", "").count("&") == 1 for line in rows_of_tex)
    assert len(rows_of_tex) == len(HOSTILE) * (len(HOSTILE) + 1)


def test_a_page_of_hostile_texts_shows_them_and_runs_nothing() -> None:
    rows = [[Cell(text, f"why {text}"), Cell("0.5")] for text in HOSTILE]
    blocks = [Block(text, [text, "b"], rows, [text]) for text in HOSTILE]
    shown = sheets.html(sheets.add_caution(Sheet(HOSTILE[0], HOSTILE, blocks, pd.DataFrame()), HOSTILE[5]))
    page = Page(shown)
    own = {
        "meta",
        "title",
        "style",
        "main",
        "h1",
        "h2",
        "p",
        "strong",
        "sup",
        "ul",
        "li",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert set(page.tags) == own
    assert page.tags.count("table") == page.tags.count("h2") == page.tags.count("li") == len(HOSTILE)
    assert page.tags.count("td") == len(HOSTILE) ** 2
    assert all(words(escaping.one_line(text)) in words(page.text) for text in HOSTILE)
    assert "</script" not in shown, "Snakemake puts the page into a script of the report"


def test_numbers_of_a_page_stand_in_line() -> None:
    rows = [[Cell("net-a"), Cell("-0.1 [-0.2, 0.0]"), Cell("12")], [Cell("net-b"), Cell("+0.1 [0.0, 0.2]"), Cell("-")]]
    page = sheets.html(Sheet("t", (), [Block("b", ["net", "difference", "images"], rows)], pd.DataFrame()))
    assert '<th>net-a</th><td>\u22120.1 [\u22120.2, 0.0]</td><td class="count">12</td>' in page
    assert '<th>difference</th><th class="count">images</th>' in page
    assert '<div class="wide"><table>' in page


def test_no_other_module_escapes() -> None:
    own = re.compile(r"html\.escape|saxutils|textbackslash|\.replace\(\"[|<&]\"")
    files = [path for path in registry.PACKAGE.rglob("*.py") if path.name != "escaping.py"]
    assert len(files) > 200
    assert [path.name for path in files if own.search(path.read_text())] == []
