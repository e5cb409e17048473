"""Compare scores of test images with those of training images: does what holds on seen images hold on new ones?

    d_r      mean over test images - mean over training images            run r (a seed), one method on one architecture
    value    mean of d_r over runs

Both sides have the same models, but no image and no group in common, so nothing is paired. Each score becomes a pseudo-value
[andersen2003] whose mean is d_r, and whose distance to it is the influence of its image:

    test        d_r + N / N_test (x - mean of test)                       N = N_test + N_train
    training    d_r - N / N_train (x - mean of training)

So these contrasts have the intervals, families and tests of all others. They exist if the study explains training images
(`explain: {parts: [test, train]}`) and each part has as many groups as an interval needs. To first order the interval is that
of two independent samples of groups. Cost: as the contrasts of one context.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gradfaith.stats.comparisons import Comparisons, Differences, Pair
from gradfaith.stats.image_scores import ContextScores
from gradfaith.stats.spread import CodeArray, FlagArray, FloatArray
from gradfaith.vocabulary import BETWEEN_IMAGES, BY_AREA, REFERENCE

LEFT_OUT = (BETWEEN_IMAGES, BY_AREA, REFERENCE)  # chance levels, and a part of the pairs of seeds


def differences_between_parts(
    test: Sequence[ContextScores],
    train: Sequence[ContextScores],
    run: CodeArray,
    group: CodeArray,
    asked: Comparisons,
    min_groups: int,
) -> Iterator[Differences]:
    """Yield every method's test scores minus its training scores; `run` and `group` are those of every unit."""
    seen: Mapping[tuple[str, ...], ContextScores] = {own.context: own for own in train}
    for own in test:
        other = seen.get(own.context)
        if other is None or own.context[-1] in LEFT_OUT:
            continue
        unit, columns = np.concatenate([own.unit, other.unit]), []
        is_test = np.arange(len(unit)) < len(own.unit)
        for order, method in enumerate(asked.of_model):
            if not own.layers_of(method) or not other.layers_of(method):
                continue
            sides = [side.over_layers(method) for side in (own, other)]
            value, has_score = (np.concatenate(both) for both in zip(*sides, strict=True))
            ok = np.isfinite(value)
            if min(len(set(group[unit[ok & part]])) for part in (is_test, ~is_test)) >= min_groups:
                columns.append((_pair(own, method, order), pseudo_values(value, is_test, run[unit]), has_score))
        if columns:
            pairs, values, asked_of = zip(*columns, strict=True)
            value = np.stack(values, axis=1)
            yield Differences(pairs, unit, value, np.full_like(value, np.nan), np.stack(asked_of, axis=1), paired=False)


def pseudo_values(value: FloatArray, is_test: FlagArray, run: CodeArray) -> FloatArray:  # (n), (n), (n) -> (n)
    """Return scores whose mean in a run is the mean of test minus that of training images; NaN: no value."""
    found = np.full(len(value), np.nan)
    for number in np.unique(run):
        first, second = (np.isfinite(value) & (run == number) & part for part in (is_test, ~is_test))
        if first.any() and second.any():
            means = value[first].mean(), value[second].mean()
            count = first.sum() + second.sum()
            found[first] = means[0] - means[1] + count / first.sum() * (value[first] - means[0])
            found[second] = means[0] - means[1] - count / second.sum() * (value[second] - means[1])
    return found


def _pair(own: ContextScores, method: str, order: int) -> Pair:
    at = own.layers_of(method)
    layer = own.columns[at[0]][1] if len(at) == 1 else ""
    return Pair("part", own.context, layer, method, "train", "", order, int(own.first_row[at].min()))
