"""Win rates by class on training and test images, with their distribution over seeds: Figure 7 of [pham2025].

One row of panels per architecture, one column per part of the split. Large marks: the rate over all contests, with its
interval. Small pale marks: the rate of each seed. Dotted: the rate of a method that wins as often as any other. The numbers
are those of the table of the same name.
"""

import pandas as pd
from matplotlib.axes import Axes

from gradfaith.reporting import metric_rows
from gradfaith.reporting.figures import marks, theme
from gradfaith.reporting.figures.contract import Figure, FigureInputs
from gradfaith.stats.estimates import ALL_IMAGES
from gradfaith.stats.interval_scales import interval_rule
from gradfaith.stats.over_seeds import winrates_by_part

FIGURE = Figure(
    needs=("scores", "manifest"),
    section="Methods and controls",
    place=16,
    title="Win rates by class and seed",
)
PART_WORDS = {"train": "training images", "val": "validation images", "test": "test images"}
ROW_INCHES, STEP, SEED_ALPHA = 1.7, 0.22, 0.35
NOTHING = "There is no contest: one method only, or the metric has no values on these images."


def draw(inputs: FigureInputs, *, only_correct: bool = True) -> theme.Page:
    rates = _rates(inputs, only_correct)
    archs = [name for name in inputs.architectures if name in set(rates["arch"])]
    parts = [part for part in PART_WORDS if part in set(rates["part"])]
    if rates["value"].isna().all():
        return theme.sentence_page(NOTHING)
    methods = metric_rows.methods_in_display_order(rates, inputs.controls)
    look = theme.palette(methods)
    figure = theme.new_page(0.9 + ROW_INCHES * len(archs))
    panels = figure.subplots(len(archs), len(parts), squeeze=False, sharey=True, sharex="col")
    for line, arch in zip(panels, archs, strict=True):
        for axes, part in zip(line, parts, strict=True):
            own = rates[(rates["arch"] == arch) & (rates["part"] == part)]
            _draw_panel(axes, own, inputs, look)
            axes.set_title(f"{arch}, {PART_WORDS[part]}", fontweight="bold")
        line[0].set_ylabel(theme.metric_axis_label("Win rate", "higher", upright=True))
    theme.add_legend(figure, marks.architecture_entries(look))
    which = "images that the model classifies correctly" if only_correct else "all images"
    metric = metric_rows.display_label(inputs.primary.metric, inputs.metrics)
    noun = metric_rows.group_noun(inputs.tables["manifest"])
    theme.add_note(
        figure,
        f"Wins in {metric} on {which}; shared first places are shared wins. Small marks: one seed. Dotted: equal rates.",
        theme.describe_basis(rates, inputs.level, noun),
    )
    return figure


def _rates(inputs: FigureInputs, only_correct: bool) -> pd.DataFrame:
    single = metric_rows.rows_of_single_architectures(inputs.tables["scores"])
    rows = metric_rows.rows_of_metric(single, inputs.primary.metric)
    rows = rows.astype({name: "str" for name, kind in rows.dtypes.items() if isinstance(kind, pd.CategoricalDtype)})
    controls = [name for name in dict.fromkeys(rows["method"]) if metric_rows.is_control(name, inputs.controls)]
    rule = interval_rule(inputs.level, inputs.min_groups, inputs.bounds)
    return winrates_by_part(rows, controls, inputs.better, rule, only_correct=only_correct)


def _draw_panel(axes: Axes, own: pd.DataFrame, inputs: FigureInputs, look: theme.Marks) -> None:
    strata = [name for name in (ALL_IMAGES, *inputs.classes) if name in set(own["stratum"])]
    offsets = marks.spread_offsets(list(look), STEP)
    at = [strata.index(row["stratum"]) + offsets[row["method"]] for row in metric_rows.records(own)]
    rows = own.assign(at=at, name=own["method"], control=False)
    for row in metric_rows.records(rows):
        seeds = [float(value) for value in str(row["seed_values"]).split()]
        colour = look[row["name"]][0]
        axes.plot(
            [row["at"] + STEP / 3] * len(seeds),
            seeds,
            ".",
            color=colour,
            alpha=SEED_ALPHA,
            markersize=4,
            markeredgewidth=0,
        )
    marks.draw_estimates(axes, rows, marks.Marks(look, upright=True))
    axes.axhline(1 / len(look), color=theme.GREY, linestyle=":", linewidth=1)
    axes.set(ylim=(-0.03, 1.03), xlim=(-0.6, len(strata) - 0.4))
    axes.set_xticks(range(len(strata)), ["overall" if name == ALL_IMAGES else name for name in strata])
    axes.grid(visible=True, axis="y")
