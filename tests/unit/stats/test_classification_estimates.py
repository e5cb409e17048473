"""Classification: scikit-learn is the judge of every number; the jackknife is judged by computing everything again."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import betaincinv, expit, logit, stdtrit
from sklearn import metrics

from gradfaith import rng
from gradfaith.errors import BrokenTable
from gradfaith.stats import classification as classification_stats
from gradfaith.stats.classification import confusion_table, estimate_classification

CLASSES = ("benign", "malignant", "normal")


def draw(key, patients=30, slices=3, seeds=(0, 1), skill=1.2, mixed=False):
    """Predictions of a classifier of a given skill; with `mixed`, a patient's slices have different labels."""
    noise, rows = rng.generator("predictions", key), []
    for seed in seeds:
        for patient in range(patients):
            for number in range(slices):
                label = (patient + (number if mixed else 0)) % 3
                logits = noise.normal(size=3) + skill * (np.arange(3) == label)
                p = np.exp(logits) / np.exp(logits).sum()
                rows.append(("net", seed, f"p{patient}-{number}", f"p{patient}", "test", label, p.argmax(), *p))
    names = ["arch", "seed", "image_id", "group", "part", "label", "predicted", *(f"probability_{c}" for c in CLASSES)]
    table = pd.DataFrame(rows, columns=names)
    table["label"], table["predicted"] = (
        table["label"].map(dict(enumerate(CLASSES))),
        table["predicted"].map(dict(enumerate(CLASSES))),
    )
    return table.assign(correct=table["label"] == table["predicted"])


def judged(table, metric, of):
    """What scikit-learn says of one model's predictions."""
    y, guess = table["label"], table["predicted"]
    if metric == "accuracy":
        return metrics.accuracy_score(y, guess)
    if metric == "balanced_accuracy":
        return metrics.balanced_accuracy_score(y, guess)
    if metric == "auroc":
        p = table[[f"probability_{c}" for c in CLASSES]].to_numpy()
        if of == "macro":
            return metrics.roc_auc_score(y, p, multi_class="ovr", average="macro", labels=list(CLASSES))
        return metrics.roc_auc_score(y == of, p[:, CLASSES.index(of)])
    averaged = {"labels": [of]} if of != "macro" else {"labels": list(CLASSES)}
    if metric == "specificity":  # the recall of "not this class"
        names = CLASSES if of == "macro" else [of]
        return np.mean([metrics.recall_score(y != c, guess != c, zero_division=np.nan) for c in names])
    score = {"precision": metrics.precision_score, "f1": metrics.f1_score}.get(metric, metrics.recall_score)
    return score(y, guess, average="macro", zero_division=np.nan, **averaged)


@pytest.mark.parametrize("mixed", [False, True])
def test_every_number_is_the_mean_over_seeds_of_scikit_learns(mixed):
    table = draw("judge", mixed=mixed)
    found = estimate_classification(table, CLASSES)
    assert len(found) == 2 + 6 * 4
    for row in found.to_dict("records"):
        theirs = np.mean([judged(own, row["metric"], row["class"]) for _, own in table.groupby("seed")])
        assert row["value"] == pytest.approx(theirs, abs=1e-12), (row["metric"], row["class"])
    assert (found["status"] == "ok").all()


def test_the_interval_is_that_of_leaving_every_patient_out():
    """The literal twin: scikit-learn again for every patient left out; one seed, so one component."""
    table = draw("twin", patients=15, seeds=(3,), mixed=True)
    found = estimate_classification(table, CLASSES).set_index(["metric", "class"])
    for key in [
        ("accuracy", "macro"),
        ("f1", "macro"),
        ("auroc", "macro"),
        ("auroc", "benign"),
        ("precision", "normal"),
    ]:
        whole = judged(table, *key)
        left = np.array([judged(table[table["group"] != g], *key) for g in table["group"].unique()])
        g = (left != whole).sum()  # a patient never called normal has no part in that precision
        se = np.sqrt((g - 1) / g * ((left - whole) ** 2).sum())
        assert found.loc[key, "se"] == pytest.approx(se, rel=1e-10)
        row, t = found.loc[key], stdtrit(found.loc[key, "df"], 0.975)
        high = expit(logit(whole) + t * se / (whole * (1 - whole)))
        if row["interval"] == "beta over groups":  # fewer than five effective images are wrong
            n = min(row["n_images"], whole * (1 - whole) / se**2 * (stdtrit(row["n_images"] - 1, 0.975) / t) ** 2)
            high = betaincinv(n * whole + 1, n - n * whole, 0.975)
        assert row["high"] == pytest.approx(high, rel=1e-9)
    assert found.loc[("accuracy", "macro"), "df"] == pytest.approx(14)
    assert found.loc[("f1", "macro"), "df"] < 13  # two fewer: three class means were estimated


@pytest.mark.parametrize("ties", [False, True])
def test_the_auroc_without_a_group_is_scikit_learns_without_its_rows(ties):
    noise = rng.generator("auroc", ties)
    score = noise.integers(0, 5, 60).astype(float) if ties else noise.normal(size=60)
    positive, group = noise.random(60) < 0.4, noise.integers(0, 9, 60)
    whole, left = classification_stats.auroc(score, positive, group, 9)
    assert whole == pytest.approx(metrics.roc_auc_score(positive, score), abs=1e-12)
    theirs = [metrics.roc_auc_score(positive[group != g], score[group != g]) for g in range(9)]
    assert np.allclose(left, theirs, atol=1e-12)


def clustered_variance(score: np.ndarray, positive: np.ndarray, group: np.ndarray) -> float:
    """Return Obuchowski's variance of an AUROC of clustered images (Biometrics 1997), by plain loops over pairs."""

    def wins(value: float, others: np.ndarray, sign: int) -> float:
        return float(np.mean([(sign * (value - other) > 0) + (value == other) / 2 for other in others]))

    area, names = metrics.roc_auc_score(positive, score), np.unique(group)
    parts = {name: np.zeros(2) for name in names}  # of positives and negatives: the sum of wins above the area
    for kind, sign in ((0, 1), (1, -1)):
        others = score[positive if kind else ~positive]
        for value, name in zip(
            score[~positive if kind else positive], group[~positive if kind else positive], strict=True
        ):
            parts[name][kind] += wins(value, others, sign) - area
    counts = np.array([positive.sum(), (~positive).sum()])
    with_kind = [sum(((group == name) & (~positive if kind else positive)).any() for name in names) for kind in (0, 1)]
    own = [
        with_kind[kind] / (with_kind[kind] - 1) * sum(parts[name][kind] ** 2 for name in names) / counts[kind] ** 2
        for kind in (0, 1)
    ]
    crossed = len(names) / (len(names) - 1) * sum(parts[name].prod() for name in names)
    return float(own[0] + own[1] + 2 * crossed / counts.prod())


@pytest.mark.parametrize("mixed", [False, True])
def test_the_standard_error_of_the_auroc_is_that_of_the_clustered_method(mixed):
    """With and without patients that have images of both kinds; the jackknife differs by less than 4 %."""
    table = draw("clustered", patients=40, seeds=(0,), skill=0.7, mixed=mixed)
    positive = (table["label"] == "malignant").to_numpy()
    score = table["probability_malignant"].to_numpy()
    row = estimate_classification(table, CLASSES).set_index(["metric", "class"]).loc[("auroc", "malignant")]
    theirs = clustered_variance(score, positive, table["group"].to_numpy())
    assert row["se"] == pytest.approx(np.sqrt(theirs), rel=0.04)


def test_a_class_never_predicted_has_no_precision_but_an_f1_of_zero():
    table = draw("never", seeds=(0,))
    table.loc[table["predicted"] == "benign", "predicted"] = "normal"
    found = estimate_classification(table, CLASSES).set_index(["metric", "class"])
    assert found.loc[("precision", "benign"), ["status", "n_undefined"]].tolist() == ["undefined", 1]
    assert np.isnan(found.loc[("precision", ["benign", "macro"]), "value"]).all()
    assert found.loc[("f1", "benign"), "value"] == 0
    assert found.loc[("sensitivity", "benign"), "value"] == 0


def test_a_seed_without_a_value_is_counted_and_the_others_averaged():
    table = draw("half", seeds=(0, 1))
    table.loc[(table["predicted"] == "benign") & (table["seed"] == 1), "predicted"] = "normal"
    row = estimate_classification(table, CLASSES).set_index(["metric", "class"]).loc[("precision", "benign")]
    assert row["value"] == pytest.approx(judged(table[table["seed"] == 0], "precision", "benign"))
    assert (row["status"], row["n_undefined"], row["n_seeds"], row["seeds"]) == ("ok", 1, 1, "0")


def test_a_perfect_classifier_gets_an_interval_that_does_not_promise_perfection():
    found = estimate_classification(draw("perfect", skill=60), CLASSES)
    assert (found["value"] == 1).all()
    assert np.allclose(found["low"], 0.025 ** (1 / found["n_groups"]))  # as many groups without an error
    assert (found["high"] == 1).all()
    assert (found["interval"] == "beta over groups").all()


def test_a_class_of_few_patients_keeps_its_number_and_loses_its_interval():
    table = draw("few", patients=21)  # seven patients per class
    found = estimate_classification(table, CLASSES).set_index(["metric", "class"])
    assert np.isnan(found.loc[("sensitivity", "benign"), "low"])
    assert found.loc[("sensitivity", "benign"), "reason"].startswith("7 groups")
    assert np.isfinite(found.loc[("sensitivity", "macro"), "low"])


def test_names_and_order_do_not_matter_and_other_parts_are_left_out():
    table = draw("order")
    other = table.sample(frac=1, random_state=0).assign(group=lambda t: "x" + t["group"].str[::-1])
    train = draw("train").assign(part="train")
    numbers = ["value", "low", "high", "df"]
    key = ["metric", "class"]
    one = estimate_classification(table, CLASSES).set_index(key)[numbers]
    two = estimate_classification(pd.concat([train, other]), CLASSES).set_index(key)[numbers]
    pd.testing.assert_frame_equal(one, two.loc[one.index], rtol=1e-10)


def test_the_confusion_matrix_is_the_sum_over_seeds():
    table = draw("confusion")
    found = confusion_table(table, CLASSES)
    theirs = sum(metrics.confusion_matrix(t["label"], t["predicted"], labels=CLASSES) for _, t in table.groupby("seed"))
    assert (found["n"].to_numpy().reshape(3, 3) == theirs).all()
    assert np.allclose(found.groupby("label")["share"].sum(), 1)


def test_an_unknown_class_an_empty_part_and_a_repeated_image_are_refused():
    table = draw("bad")
    with pytest.raises(BrokenTable, match="normal"):
        estimate_classification(table, CLASSES[:2])
    with pytest.raises(BrokenTable, match="no image of part 'val'"):
        estimate_classification(table, CLASSES, part="val")
    with pytest.raises(BrokenTable, match="twice"):
        estimate_classification(pd.concat([table, table.head(1)]), CLASSES)


def cover(patients, reps, key):
    """The share of 95 % intervals of macro sensitivity that hold the truth: each patient has its own chance to be right."""
    noise, hits = rng.generator("cover", key, patients), 0
    label = np.arange(patients) % 3
    truth = 0.75 * 0.5 + 0.25 * 0.9
    for _ in range(reps):
        chance = np.where(noise.random(patients) < 0.75, 0.5, 0.9)
        slices = noise.integers(2, 9, patients)
        patient = np.repeat(np.arange(patients), slices)
        right = noise.random(len(patient)) < chance[patient]
        own = label[patient]
        guess = np.where(right, own, (own + 1) % 3)
        table = pd.DataFrame({"label": np.array(CLASSES)[own], "predicted": np.array(CLASSES)[guess], "group": patient})
        table = table.assign(arch="net", seed=0, part="test", image_id=np.arange(len(patient)))
        found = estimate_classification(table, CLASSES)
        row = found[(found["metric"] == "sensitivity") & (found["class"] == "macro")].iloc[0]
        hits += row["low"] <= truth <= row["high"]
    return hits / reps


def test_macro_sensitivity_is_covered():
    assert 0.875 <= cover(24, 80, "quick") <= 1


@pytest.mark.slow
@pytest.mark.parametrize("patients", [12, 24, 60])
def test_macro_sensitivity_is_covered_closely(patients):
    assert 0.925 <= cover(patients, 700, "slow") <= 0.98
