"""Compare every method with its controls, from the contrasts of a study, and describe the result in sentences.

A method is better than a control if its gain (its paired difference, with the sign changed where lower is better) is above 0
and its p is below 1 - level. The p-values of one metric and imputer on one architecture hold for all of its comparisons at
once (stats/simultaneous.py). The comparison that the study names beforehand stands alone. Metrics of agreement are left out:
a control that does not use the model agrees with itself perfectly. Where a dataset has no masks, metrics of localization are
left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gradfaith import registry
from gradfaith.config.result_settings import StudyDescription
from gradfaith.reporting import metric_rows
from gradfaith.reporting.metric_rows import TableRow, display_label
from gradfaith.reporting.tables.contract import estimate_text, p_value_text
from gradfaith.stats.estimates import SIGN_OF_BETTER

MANY = 4  # with more methods, an architecture has one sentence per metric


@dataclass(frozen=True)
class Comparison:
    """One method against all its controls, on one architecture and metric."""

    arch: str
    method: str
    metric: str  # as readers know it
    rows: Sequence[TableRow]  # of the contrasts, with column `gain` and its ends, smallest gain first
    alpha: float

    @property
    def beaten(self) -> list[str]:
        """Return the controls that the method is better than."""
        return [str(row["against"]) for row in self.rows if row["p"] < self.alpha and row["gain"] > 0]

    @property
    def better(self) -> list[str]:
        """Return the controls that are better than the method."""
        return [str(row["against"]) for row in self.rows if row["p"] < self.alpha and row["gain"] < 0]

    @property
    def not_beaten(self) -> list[str]:
        """Return the controls that the method is not shown to be better than."""
        return [str(row["against"]) for row in self.rows if row["against"] not in self.beaten]

    @property
    def tested(self) -> bool:
        """Return whether any of the contrasts has a p-value."""
        return any(pd.notna(row["p"]) for row in self.rows)


def primary_sentences(contrasts: pd.DataFrame, about: StudyDescription) -> list[str]:
    """Return what the comparison that was named beforehand says, for every architecture, and how many were explored."""
    contrasts = metric_rows.contrasts_with_controls(contrasts)
    asked, others = about.primary, int(contrasts["p_family"].notna().sum()) if len(contrasts) else 0
    what = f"is {asked.method} better than {asked.against} in {display_label(asked.metric, about.metrics)}?"
    own = _with_gains(contrasts[contrasts["primary"].astype(bool)], about) if len(contrasts) else contrasts
    own = metric_rows.rows_of_metric(own, asked.metric) if len(own) else own
    if own.empty:
        return [f"Named beforehand: {what} There is no such comparison, so nothing is confirmed."]
    rows = metric_rows.index_rows(own, "arch")
    found = [f"On {arch} {_verdict(rows[arch], about)}." for arch in about.architectures if arch in rows]
    tested = int(own["p"].notna().sum())
    explored = (
        f"All other comparisons are exploratory ({others - tested} with a test). Below, a method is better than a control if "
        f"its gain is above 0 and p is below {1 - about.level:g}. These p-values and intervals hold for all comparisons of "
        "one metric on one architecture at once. Nothing adjusts for the number of metrics and architectures."
    )
    return [f"Named beforehand: {what} {' '.join(found)}", explored if others else "No comparison has a test."]


def _verdict(row: TableRow, about: StudyDescription) -> str:
    gain = estimate_text(
        {**row, "value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}, 3, signed=True
    )
    if pd.isna(row["gain"]):
        return f"undefined ({row['reason']})"
    if pd.isna(row["p"]):
        return f"undecided: gain {gain} ({row['reason']})"
    sure = row["p"] < 1 - about.level
    word = ("yes" if row["gain"] > 0 else "no, it is worse") if sure else "undecided"
    return f"{word}: gain {gain}{p_value_text(row['p'])}"


def _with_gains(contrasts: pd.DataFrame, about: StudyDescription) -> pd.DataFrame:
    """Return contrasts of metrics of which one end is better, with the difference turned so that above 0 is better."""
    contrasts = metric_rows.with_family_intervals(contrasts)
    sign = contrasts["metric"].map(about.better).map(SIGN_OF_BETTER).astype(float)
    low, high = (
        contrasts["low"].where(sign > 0, -contrasts["high"]),
        contrasts["high"].where(sign > 0, -contrasts["low"]),
    )
    gains = contrasts.assign(gain=sign * contrasts["value"], gain_low=low, gain_high=high)
    return gains[sign.notna() & (sign != 0)]


def compare_with_controls(contrasts: pd.DataFrame, about: StudyDescription) -> list[Comparison]:
    """Return every method against its controls, on the metrics that are shown first, architecture by architecture."""
    contrasts = metric_rows.contrasts_with_controls(contrasts)
    if contrasts.empty:
        return []
    hidden = {*registry.names("agreement"), *(registry.names("localization") if about.evidence == "none" else ())}
    table = _with_gains(contrasts, about)
    table = table[~table["metric"].map(lambda label: about.metrics.get(label, label) in hidden)]
    labels = metric_rows.metrics_to_show(table, about.metrics, primary=about.primary.metric)
    methods = [name for name in dict.fromkeys(table["method"]) if not metric_rows.is_control(name, about.controls)]
    return [
        Comparison(
            arch, method, metric_rows.display_label(label, about.metrics), rows.to_dict("records"), 1 - about.level
        )
        for arch in about.architectures
        for method in methods
        for label in labels
        for rows in [_smallest_gain_first(table, arch, method, label)]
        if len(rows)
    ]


def _smallest_gain_first(table: pd.DataFrame, arch: str, method: str, label: str) -> pd.DataFrame:
    own = metric_rows.rows_of_metric(table, label)
    return own[(own["arch"] == arch) & (own["method"] == method)].sort_values(["gain", "against"])


def comparison_sentences(comparisons: Sequence[Comparison]) -> list[str]:
    """Return which methods are better than which controls: a sentence per model and method, or per metric if there are many."""
    if not comparisons:
        return ["No method was compared with a control."]
    many = len({one.method for one in comparisons}) > MANY
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault((one.metric if many else one.method, one.arch), []).append(one)
    say = _say_methods if many else _say_metrics
    return [f"{what} on {arch}: {say(own)}." for (what, arch), own in groups.items()]


def _say_metrics(own: Sequence[Comparison]) -> str:
    """Return what one method reaches, the metric with the most beaten controls first."""
    tested = sorted((one for one in own if one.tested), key=lambda one: -len(one.beaten) / len(one.rows))
    counts = [
        f"{len(one.beaten)} of {len(one.rows)}{' controls' if one is tested[0] else ''} in {one.metric}"
        for one in tested
    ]
    parts = [f"better than {', '.join(counts)}"] if counts else []
    parts += [f"worse than {', '.join(one.better)} in {one.metric}" for one in tested if one.better]
    parts += [
        f"undecided in {one.metric}, as no comparison has a test ({one.rows[0]['reason']})"
        for one in own
        if not one.tested
    ]
    return "; ".join(parts)


def _say_methods(own: Sequence[Comparison]) -> str:
    """Return what many methods reach in one metric."""
    every = [one.method for one in own if len(one.beaten) == len(one.rows)]
    never = [one.method for one in own if one.tested and not one.beaten]
    untested = sum(not one.tested for one in own)
    text = f"{len(every)} of {len(own)} methods are better than all their controls"
    text += f"; {len(never)} better than none ({', '.join(never)})" if never else ""
    return text + (f"; {untested} undecided, as no comparison has a test" if untested else "")
