"""Escape text for each format that a report is written in: one function per format, and no other module escapes.

    one_line     figures and terminals: no line breaks, a visible sign for hidden characters; theme.py switches mathtext off
    markdown     CommonMark with GitHub's tables and math: no link, no raw HTML, no cell more
    latex        LaTeX, as text or inside a comment
    rst          reStructuredText, in which the captions of Snakemake's report are written
    html         the text of an HTML element
    script       a string literal inside an HTML page's `<script>`

Titles, names of classes, images, groups and plug-ins are texts: a reader sees exactly these characters. Every function
starts with `one_line`, because a line break ends a comment, a heading, a row and a caption. `ReportText` is for the
parameters of rules whose outputs are in Snakemake's report: Snakemake writes them into the page unchanged.
"""

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from gradfaith.vocabulary import HIDDEN_CHARACTERS

BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
HIDDEN = re.compile(rf"[{HIDDEN_CHARACTERS}\ud800-\udfff]")
HIDDEN_SIGN = "\ufffd"
# A `<` that begins a tag, a `&` that begins an entity, a `_` that can begin or end emphasis, what makes `]` a link.
MARKDOWN = re.compile(r"[\\`*|~$#]|<(?=[A-Za-z/!?])|&(?=[#A-Za-z])|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[:]", re.ASCII)
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}",
    HIDDEN_SIGN: "?",
}  # fmt: skip
RST = re.compile(r"[!-/:-@\[-`{-~]")  # all of ASCII's punctuation


def one_line(text: str) -> str:
    """Return text on one line, with a visible sign for every character that hides others or changes their order."""
    return HIDDEN.sub(HIDDEN_SIGN, BREAKS.sub(" ", text))


def markdown(text: str, *, code: bool = False) -> str:
    """Return text that Markdown shows literally, in a paragraph, a heading or a cell of a table; `code`: as code."""
    text = one_line(text)
    if not code:
        return MARKDOWN.sub(r"\\\g<0>", text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text.replace('|', chr(92) + '|')}{space}{fence}"


def latex(text: str) -> str:
    """Return text that LaTeX prints literally, also where it follows the end of a table's row."""
    safe = "".join(LATEX.get(letter, letter) for letter in one_line(text))
    return "{}" + safe if safe.startswith(("[", "*")) else safe


def rst(text: str) -> str:
    """Return text that reStructuredText shows literally, inside a line."""
    return RST.sub(r"\\\g<0>", one_line(text))


def html(text: str) -> str:
    """Return text that a browser shows literally, inside an element or a quoted attribute."""
    return escape(one_line(text))


def script(text: str) -> str:
    """Return a JavaScript and JSON string literal that cannot end the `<script>` around it."""
    return json.dumps(text).replace("<", r"\u003c")


class ReportText(str):
    """A text among a rule's parameters: `repr`, which Snakemake puts into a script, is safe; captions use `.rst`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return script(str(self))

    @property
    def rst(self) -> str:
        """The text for a caption."""
        return rst(str(self))


class ReportParams(dict[Any, Any]):
    """Parameters of a rule: complete for Snakemake, which compares `repr`, and one phrase for the report, which prints `str`."""

    def __str__(self) -> str:
        return "as in the study's file"


def report_texts(value: Any) -> Any:
    """Return parameters of a rule in which every text is a `ReportText`."""
    if isinstance(value, str):
        return ReportText(value)
    if isinstance(value, Mapping):
        return ReportParams({report_texts(key): report_texts(one) for key, one in value.items()})
    return type(value)(map(report_texts, value)) if isinstance(value, list | tuple) else value
