"""The audit of a small study's images: a few duplicates and near duplicates, and two shortcut probes."""

AUDIT = {
    "images": 72, "unreadable": {}, "groups": 36, "group_size": {"largest": 2}, "release": "", "inferred": None, "claimed": {},
    "classes": {name: {"images": 24, "groups": 12, "with_evidence": 0} for name in ("normal", "benign", "malignant")},
    "duplicates": {"images": 2, "across_classes": 0, "list": [["normal-00-0", "normal-00-1"]]},
    "near_duplicates": {
        "pairs": 3, "pairs_across_classes": 1, "pairs_across_parts": 0, "across_groups": [],
        "across_classes": [["normal-01-0", "benign-01-0", 0.98]],
    },
    "seen_before": None,
    "leakage": {
        "reason": "", "chance": 1 / 3, "this": {"whole": 0.4, "rim": 0.3}, "random": [{"whole": 0.9, "rim": 0.8}] * 2,
        "groups": [{"whole": 0.35, "rim": 0.2}, {"whole": 0.45, "rim": 0.35}], "side": 32,
    },
    "shortcuts": {
        stage: {
            kind: {"status": "ok", "balanced_accuracy": value, "null": 0.42, "chance": 1 / 3, "one_vs_rest": {"malignant": value + 0.2}}
            for kind, value in (("noise", 0.6), ("border", 0.4))
        } | {"size": {"status": "undefined", "reason": "a class has a single group"}}
        for stage in ("in the files", "as the model sees it")
    },
}  # fmt: skip
