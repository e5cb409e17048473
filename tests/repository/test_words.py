"""What a person reads is plain technical English: a list of phrases that are not used, and British spelling.

Read are documents, configuration and profiles, and of code the docstrings, comments and string literals. Names are not read:
in code they are no words, and in documents they stand in backticks.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "results/README.md")
FOLDERS = ("docs", "config", "profiles", "rules", "scripts", "benchmarks", "workflow")
ENDINGS = {".md", ".rst", ".yaml", ".yml", ".py", ".smk"}

PHRASES = {  # as regular expressions, between word boundaries: what to write instead
    "mend(s|ed|ing)?": "fix",
    "bef(alls?|ell|allen)": "happen to",
    "struck": "interrupted, affected",
    "let(s|ting)? go": "release",
    "(go|goes|went|going|gone) on(?! to)": "continue, resume",
    "who(so)?ever": "the user who",
    "(stand|stands|stood|standing) on": "depend on, rest on",
    "asks? (it|them|what|that|those) of|asks? of|asked of": "the actor and a verb: Snakemake retries",
    "(know|knows|knew|knowing) nothing": "do not use the model",
    "(is|are|be|was|were|been|being) told": "the actor and a verb",
    "said": "stated",
    "whole(?! numbers?)": "complete, entire, all of",
    "pictures?": "image, figure",
    "deals?|dealt|dealing": "permute, assign",
    "anew": "again, new",
    "slips? of the pen": "typing error",
    "(and|with|of) (its|their) kin": "and similar",
    "heeds?": "follow, read",
    "twin": "reference implementation",
    "(can|could|may) be had": "be available",
    "for good(?! reason)": "permanently",
    "asks? (a|the|any|each|every|its|no) (network|model|classifier)s?": "run the model",
    "nobody|no one": "the actor, or the passive",
}
AMERICAN = {
    r"(?!(re|down|over|un)?siz|priz|seiz|capsiz|localiz)[a-z]+iz(e|es|ed|er|ers|ing|ation|ations|able)": "-ise, -isation",
    r"analyz\w+": "analyse",
    r"(colo|behavio|neighbo|favo|hono|labo|flavo|rigo|vapo)r(s|ed|ing|ful|hood|able|ite)?": "-our",
    r"(center|fiber|caliber|liter)(s|ed|ing)?": "-re",
    r"gr(ay)(s|scale|ed|ish)?": "grey",
    r"(label|model|cancel|travel|signal|level|channel|tunnel)(ed|ing|er)": "-lled, -lling",
    r"artifacts?": "artefact",
    r"catalogs?|analogs?|dialogs?": "-logue",
    r"(defen|offen|preten)se": "-ce",
    r"(fulfill|enroll)s?": "fulfil, enrol",
}

NAMES = r"(?<!`)`[^`\n]+`(?!`)|https?://\S+|<[^<>\n]*>"
FENCED = r"(?s)```.*?```"


@dataclass(frozen=True)
class Allowed:
    """A phrase that may stand in one file, with the text around it and the reason."""

    file: str
    text: str
    reason: str


ALLOWED: tuple[Allowed, ...] = (
    Allowed(
        "workflow/gradfaith/data/audit/shortcuts.py",
        "shortcut deal",
        "the key of a random stream: another has other numbers",
    ),
)


@dataclass(frozen=True)
class Finding:
    """A phrase at a place."""

    file: str
    line: int
    phrase: str
    instead: str
    text: str

    def __str__(self) -> str:
        """Return one line of the report."""
        return f'{self.file}:{self.line}: "{self.text}" ({self.instead})'


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of all that a person reads in a file."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from literals(ast.parse(content))
        yield from tokens(content, {tokenize.COMMENT})
    elif path.suffix == ".smk" or path.name == "Snakefile":
        yield from tokens(content, {tokenize.COMMENT, tokenize.STRING})
    else:
        yield 1, content


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every string of a module, docstrings too; the parser has joined strings that stand side by side."""
    pieces: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces.update(node.values)
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in pieces:
            yield node.lineno, node.value


def tokens(content: str, kinds: set[int]) -> Iterator[tuple[int, str]]:
    """Yield tokens of some kinds; comments on lines that follow each other are one text."""
    start, last, words = 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type not in kinds:
            continue
        text = re.sub(r"\{[^{}]*\}", "{}", token.string).strip("#'\" ")
        if token.type == tokenize.COMMENT and token.start[0] == last + 1:
            words += "\n" + text
        else:
            if words:
                yield start, words
            start, words = token.start[0], text
        last = token.start[0]
    if words:
        yield start, words


def find(path: Path, name: str) -> Iterator[Finding]:
    """Yield the phrases in a file; a text of one word is a key or a name."""
    allowed = [entry.text for entry in ALLOWED if entry.file == name]
    for line, content in texts(path):
        if " " not in content.strip():
            continue
        text = re.sub(NAMES, lambda found: blank(found[0]), content)
        prose = re.sub(FENCED, lambda found: blank(found[0]), text)
        for table, within in ((PHRASES, text), (AMERICAN, prose)):
            for phrase, instead in table.items():
                pattern = rf"(?<![\w./-])(?:{phrase.replace(' ', chr(92) + 's+')})(?![\w=(]|[./-]\w|:\s*[#\"])"
                for found in re.finditer(pattern, within, re.I):
                    around = " ".join(within[max(0, found.start() - 60) : found.end() + 60].split())
                    if not any(words in around for words in allowed):
                        at = line + within.count("\n", 0, found.start())
                        yield Finding(name, at, phrase, instead, " ".join(found[0].split()))


def blank(text: str) -> str:
    """Return as many lines without words."""
    return " " + "\n" * text.count("\n")


def readable_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files that a person reads, with their names below the root."""
    paths = [root / name for name in (*DOCUMENTS, "Snakefile")]
    for folder in FOLDERS:
        paths += sorted(
            path for path in (root / folder).rglob("*") if path.suffix in ENDINGS or path.name == "Snakefile"
        )
    for path in paths:
        if path.is_file():
            yield path, path.relative_to(root).as_posix()


def findings(root: Path) -> list[Finding]:
    """Return every phrase of the list in every file, whether the file is clean or not."""
    return [finding for path, name in readable_files(root) for finding in find(path, name)]


def count_phrases(root: Path) -> Counter[str]:
    """Return phrase -> occurrences."""
    return Counter(finding.phrase for finding in findings(root))


@pytest.fixture(scope="module")
def found(root: Path) -> list[Finding]:
    return findings(root)


def test_no_phrase_of_the_list_is_used(found: list[Finding]) -> None:
    bad = [str(finding) for finding in found]
    assert bad == [], "\n" + "\n".join(bad)


def test_every_exception_is_still_needed(root: Path) -> None:
    for entry in ALLOWED:
        assert entry.reason
        content = "\n".join(text for _, text in texts(root / entry.file))
        assert entry.text in " ".join(content.split()), entry


def test_phrases_are_found_where_a_person_reads(tmp_path: Path) -> None:
    """A docstring, a comment over two lines, a message in pieces and a document are read; names and code are not."""
    (tmp_path / "a.py").write_text(
        '"""Mend it."""\n\nwhole = {"color": 1}  # the color\n# what a map\n# goes on\n'
        'raise ValueError(f"{whole} is " "told, by `color` and localization")\n'
    )
    (tmp_path / "b.md").write_text("A whole\npicture, `whole`, a whole number;\nneighbors in normalize(x) normalize.\n")
    assert [(one.line, one.text) for one in find(tmp_path / "a.py", "a.py")] == [
        (1, "Mend"),
        (6, "is told"),
        (5, "goes on"),
        (3, "color"),
    ]
    assert [(one.line, one.text) for one in find(tmp_path / "b.md", "b.md")] == [
        (1, "whole"),
        (2, "picture"),
        (3, "normalize"),
        (3, "neighbors"),
    ]
