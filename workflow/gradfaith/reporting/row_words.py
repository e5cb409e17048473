"""Say "row" and "attribution" in a study of tables, where tables and figures of all studies say "image" and "map".

The sentences of shared tables, figures and gates are written once, for images. A study of tables shows the same sentences with
the words of this list, so there is no second copy that could differ. Labels and file names stay: words inside them are not
replaced.
"""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENTENCES = {
    r"their localization does not exceed that of the control (\S+) by": r"they do not follow the planted truth better than the control \1 by",
    "mark the evidence better than the controls": "follow the planted truth better than the controls",
    "the prediction depends hardly more on them than on": "the answer depends hardly more on their first features than on those of",
    "the prediction depends more on them than on": "the answer depends more on their first features than on those of",
    "populations, scanners or architectures": "populations or architectures",
    ", maps of the (predicted|true) class( or the (predicted|true) class)?": "",
}
WORDS = {
    "gain in Faith": "removal gap", "sign of disease": "cause", "new patients": "new groups", "a map": "an attribution",
    "map": "attribution", "maps": "attributions", "Maps": "Attributions", "image": "row", "images": "rows", "Images": "Rows",
    "network": "model", "localization": "planted truth",
}  # fmt: skip
CHANGES = [
    *((re.compile(pattern), words) for pattern, words in SENTENCES.items()),
    *((re.compile(rf"(?<![\w-]){word}(?![\w.]*[\w-])"), words) for word, words in WORDS.items()),
]


def in_rows(text: str) -> str:
    """Return a sentence about maps of images as one about attributions to the features of rows."""
    for pattern, words in CHANGES:
        text = pattern.sub(words, text)
    return text


def reword_figure(figure: "Figure") -> None:
    """Change the titles, labels, notes and legends of a figure."""
    texts: Any = figure.findobj(lambda artist: hasattr(artist, "set_text"))
    for text in texts:
        text.set_text(in_rows(text.get_text()))
