"""`gradfaith verify` finds a PDF that is cut off or has a changed bit, and none that is whole."""

from pathlib import Path

import pytest

from gradfaith.cli.verify import CHECKS
from gradfaith.reporting.figures import theme


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "a.pdf"
    with theme.use_theme():
        theme.save(theme.sentence_page("Nothing to draw."), path)
    return path


def test_a_figure_as_it_was_written_is_well(pdf: Path) -> None:
    CHECKS[".pdf"](pdf)


def test_a_pdf_with_a_changed_bit_or_without_its_end_is_damaged(pdf: Path) -> None:
    content = pdf.read_bytes()
    start = content.index(b"stream", content.index(b"/FlateDecode")) + 20
    for damaged in (content[:start] + bytes([content[start] ^ 4]) + content[start + 1 :], content[:-9], content[9:]):
        pdf.write_bytes(damaged)
        with pytest.raises(Exception, match=r"first or the last line|Error -\d|decompress"):
            CHECKS[".pdf"](pdf)
