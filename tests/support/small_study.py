"""A small study for the figures: scores drawn at random around known levels, tables by the real statistics, stores on disk."""

import atexit
import json
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from pathlib import Path

import claim_scores
import numpy as np
import pandas as pd
import small_meta
from long_table import repeat_rows
from numpy.typing import NDArray
from small_audit import AUDIT
from typed import described
from whole_scores import contrasts_of

from gradfaith import registry
from gradfaith.config.verdict import GATES, Verdict
from gradfaith.reporting.figures import contract, theme
from gradfaith.stats.classification import estimate_classification
from gradfaith.stats.comparisons import is_comparable
from gradfaith.stats.estimates import estimate_scores, lesion_size
from gradfaith.stats.gates import GateRules, GateTables
from gradfaith.stats.verdict import StudyVerdict, judge_study
from gradfaith.storage import hdf5, json_file, map_info, parquet

CLASSES, ARCHS, SEEDS = ["normal", "benign", "malignant"], ["resnet10t", "efficientvit_b0"], [0, 1]
CONTROLS = ["random-grid", "centre", "uniform"]
METHODS = {"gradcam": 0.35, "shuffled-gradcam": 0.08} | dict.fromkeys(CONTROLS, 0.06)
METRICS = {
    "locacc": [""],
    "saliency_score": [""],
    "iou_area_matched": [""],
    "faith": ["black", "mean"],
    "consist": ["pairs", "between-images"],
}
RANDOMISED = {f"{order} {step}/2": 0.9 / step for order in ("top_down", "bottom_up") for step in (1, 2)}
BETTER = dict.fromkeys(METRICS, "higher") | {"randomisation": "lower"}
ABOUT = {
    "title": "a phantom", "classes": CLASSES, "architectures": ARCHS, "seeds": SEEDS, "controls": CONTROLS, "level": 0.95,
    "min_groups": 8, "better": BETTER, "metrics": {}, "of_table": False,
    "primary": {"metric": "saliency_score", "method": "gradcam", "against": "random-grid"},
}  # fmt: skip
SIDE = 48
GATE_TABLES = ("classification", "estimates", "contrasts")
RULES = GateRules(
    margins=Verdict().model_dump(include=set(GATES)) | {"balanced_accuracy": 2 / 3},
    metrics={"balanced_accuracy": "balanced_accuracy", "localization": "saliency_score", "faith_gain": "faith"},
    untested={"consistency": "2 seeds, and this gate needs 3", "shortcut_lift": "no known shortcut"},
    localization_variant="", controls=CONTROLS, classes=CLASSES, better=BETTER, bounds={}, min_groups=8,
)  # fmt: skip


def manifest(groups: int = 12) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    frame = pd.DataFrame(
        [
            (f"{label}-{g:02d}-{s}", label, f"{label}-{g:02d}")
            for label in CLASSES
            for g in range(groups)
            for s in range(2)
        ],
        columns=["image_id", "label", "group"],
    )
    pixels = np.where(frame["label"] == "normal", 0, draw.integers(12, 200, len(frame)))
    blank = dict.fromkeys(("file", "sha256", "pixel_hash"), "")
    return frame.assign(
        **blank,
        group_kind="patient",
        evidence="mask",
        lesion_px=pixels,
        lesion_share=pixels / SIDE**2,
        width=SIDE,
        height=SIDE,
        bytes=0,
        status="ok",
        reason="",
        lesions=0,
        lesion_mm=float("nan"),
        **dict.fromkeys(
            ("lesion_kind", "lesion_density", "lesion_outline", "lesion_calcification", "lesion_contact"), ""
        ),
    )


def predictions(about: pd.DataFrame) -> pd.DataFrame:
    frames = []
    for arch in ARCHS:
        for seed in SEEDS:
            draw = np.random.default_rng([seed, len(arch)])
            place = about["label"].map(CLASSES.index).to_numpy()
            logits = draw.normal(size=(len(about), 3)) + 2.2 * np.eye(3)[place]
            share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            frame = about[["image_id", "group", "label"]].assign(
                part="test", predicted=np.array(CLASSES)[logits.argmax(axis=1)], seconds=0.012
            )
            frame["correct"] = frame["predicted"] == frame["label"]
            for number, name in enumerate(CLASSES):
                frame[f"logit_{name}"], frame[f"calibrated_{name}"] = logits[:, number], share[:, number]
            frames.append(frame.assign(arch=arch, seed=seed))
    return pd.concat(frames, ignore_index=True)


def scores(about: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    parts = list[dict[str, object]]()
    for (arch, seed), own in answers.groupby(["arch", "seed"]):
        for method, level in METHODS.items():
            asked = METRICS | ({"randomisation": list(RANDOMISED)} if method == "gradcam" else {})
            for metric, variants in asked.items():
                for variant in variants:
                    draw = np.random.default_rng([int(seed), len(str(arch)), len(method), len(metric), len(variant)])
                    pair = metric == "consist"
                    if pair and seed != SEEDS[0]:
                        continue
                    mean = 0.05 if variant == "between-images" else RANDOMISED.get(variant, level)
                    value = mean + draw.normal(0, 0.12, len(own))
                    empty = (own["label"] == "normal").to_numpy() & (
                        metric in ("locacc", "saliency_score", "iou_area_matched")
                    )
                    what = {
                        "arch": str(arch),
                        "seed": int(seed),
                        "method": method,
                        "metric": metric,
                        "variant": variant,
                    }
                    what |= {"arch2": str(arch) if pair else "", "seed2": SEEDS[1] if pair else pd.NA}
                    what |= {"target": "true" if pair else "predicted", "status": np.where(empty, "undefined", "ok")}
                    answered = {name: own[name].to_numpy() for name in ("predicted", "correct")}
                    parts.append({**what, "value": np.where(empty, np.nan, value), **answered})
    table = repeat_rows(about[["image_id", "group", "label"]], parts)
    return table.assign(part="test", copy=0, layer="", reason="").astype(dict(parquet.SCORES))


@cache
def _made_once(groups: int) -> Path:
    """Make the files of a study; they take seconds, and every module of tests wants some of its own."""
    folder = Path(tempfile.mkdtemp(prefix="small-study-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    json_file.write(folder / "inputs.json", SmallStudyFiles(folder, groups).inputs)
    return folder


class SmallStudy:
    """A small study on disk: `inputs` maps the needs of figures and tables to the paths of their files."""

    def __init__(self, folder: Path, groups: int = 12) -> None:
        made = _made_once(groups)
        shutil.copytree(made, folder, dirs_exist_ok=True)
        text = (made / "inputs.json").read_text().replace(str(made), str(folder))
        self.inputs: dict[str, object] = json.loads(text)

    def draw(self, name: str, **options: object) -> theme.Figure:
        needs = registry.entry("figures", name).declared["needs"]
        defaults = {key: option.default for key, option in registry.entry("figures", name).options.items()}
        with ExitStack() as stack:
            given = contract.open_inputs(stack, {need: self.inputs[need] for need in needs}, described(ABOUT))
            return registry.load("figures", name).draw(given, **(defaults | options))


class SmallStudyFiles:
    """What a small study has on disk, written into an empty folder."""

    def __init__(self, folder: Path, groups: int) -> None:
        about = manifest(groups)
        answers = predictions(about)
        raw = scores(about, answers)
        raw["lesion_size"] = raw["image_id"].map(lesion_size(about, raw["image_id"]))
        self.inputs: dict[str, object] = {
            name: str(folder / f"{name}.parquet")
            for name in ("manifest", "scores", "estimates", "contrasts", "classification", "meta", "claims", "curves")
        }
        parquet.write(self.inputs["manifest"], about, parquet.MANIFEST)
        parquet.write(self.inputs["scores"], raw, parquet.SCORES)
        parquet.write(self.inputs["estimates"], estimate_scores([raw], by=("label", "lesion_size")), parquet.ESTIMATES)
        parquet.write(
            self.inputs["contrasts"],
            contrasts_of(raw[is_comparable(raw)], CONTROLS, BETTER, ABOUT["primary"]),
            parquet.CONTRASTS,
        )
        parquet.write(self.inputs["classification"], estimate_classification(answers, CLASSES), parquet.CLASSIFICATION)
        judged = small_meta.judged(small_meta.scores(about, ARCHS, SEEDS))
        parquet.write(self.inputs["meta"], judged, parquet.META)
        parquet.write(self.inputs["claims"], claim_scores.small_claims(), parquet.CLAIMS)
        parquet.write(self.inputs["curves"], small_meta.curves(about, ARCHS, SEEDS), parquet.CURVES)
        self.inputs["predictions"] = [
            self._predictions(folder, answers, arch, seed) for arch in ARCHS for seed in SEEDS
        ]
        parts = about[["image_id"]].assign(part=np.array(["train", "val", "test"])[np.arange(len(about)) // 2 % 3])
        self.inputs["splits"], self.inputs["audit"] = str(folder / "splits.parquet"), str(folder / "audit.json")
        parquet.write(folder / "splits.parquet", parts, parquet.SPLITS)
        json_file.write(folder / "audit.json", AUDIT)
        self.inputs["verdict"] = str(folder / "verdict.json")
        json_file.write(folder / "verdict.json", asdict(self._verdict()))
        self.inputs["images"] = self._images(folder, about)
        self.inputs["cards"], self.inputs["histories"] = self._trainings(folder)
        self.inputs["maps"] = [self._maps(folder, answers, arch, seed) for arch in ARCHS for seed in SEEDS]

    def _verdict(self) -> StudyVerdict:
        found = {name: parquet.read(str(self.inputs[name]), getattr(parquet, name.upper())) for name in GATE_TABLES}
        return judge_study(GateTables(**found), {arch: ["gradcam"] for arch in ARCHS}, RULES, level=0.95)

    def _predictions(self, folder: Path, answers: pd.DataFrame, arch: str, seed: int) -> str:
        path = folder / "predictions" / arch / f"seed-{seed}.parquet"
        own = answers[(answers["arch"] == arch) & (answers["seed"] == seed)]
        parquet.write(path, own.drop(columns=["arch", "seed"]), parquet.PREDICTIONS)
        return str(path)

    def _trainings(self, folder: Path) -> tuple[list[str], list[str]]:
        """Six epochs of every model; the fifth was selected."""
        cards, histories = [], []
        for number, (arch, seed) in enumerate((arch, seed) for arch in ARCHS for seed in SEEDS):
            home, epoch = folder / "models" / arch / f"seed-{seed}", np.arange(1, 7)
            home.mkdir(parents=True)
            json_file.write(home / "card.json", {"arch": arch, "seed": seed, "best_epoch": 5, **self._decoder(arch)})
            columns = {
                "train_loss": 1.2 / epoch,
                "val_loss": 1.3 / epoch + 0.1 * number,
                "val_balanced_accuracy": 0.3 + 0.1 * epoch,
            }
            if arch == ARCHS[0]:  # it has a decoder
                columns |= {
                    f"{part}_{what}_loss": 0.5 / epoch for part in ("train", "val") for what in ("class", "decoder")
                }
            pd.DataFrame({"epoch": epoch, "lr": 0.001, **columns}).to_csv(home / "history.csv", index=False)
            cards, histories = [*cards, str(home / "card.json")], [*histories, str(home / "history.csv")]
        return cards, histories

    @staticmethod
    def _decoder(arch: str) -> dict[str, object]:
        """What the card of a model with a decoder says of it."""
        if arch != ARCHS[0]:
            return {}
        losses = {"images": 24, "class_loss": 0.4, "decoder_loss": 0.1, "total_loss": 0.5, "balanced_accuracy": 0.8}
        decoder = {"weight": 1.0, "loss": "bce", "target": "mask", "width": 16}
        return {"spec": {"decoder": decoder}, "losses": dict.fromkeys(("train", "val", "test"), losses)}

    def _images(self, folder: Path, about: pd.DataFrame) -> str:
        path, draw = folder / "images.h5", np.random.default_rng(2)
        y, x = np.mgrid[:SIDE, :SIDE]
        with hdf5.ImageWriter(path, list(about["image_id"]), ["evidence"], (1, SIDE, SIDE), {}) as writer:
            for row, image in enumerate(about.itertuples()):
                body = np.hypot(x - SIDE / 2, y - SIDE / 2) < SIDE * 0.45
                spot = np.hypot(x - self.place(row)[0], y - self.place(row)[1]) < np.sqrt(image.lesion_px / np.pi)
                grey = 70 * body + 90 * spot + draw.normal(0, 8, (SIDE, SIDE))
                writer.put(row, grey.clip(0, 255).astype(np.uint8)[None], {"evidence": spot})
            writer.describe(mean=0.4, std=0.2, digest="0")
        return str(path)

    @staticmethod
    def place(row: int) -> tuple[float, float]:
        return 14 + (row * 7) % 20, 14 + (row * 11) % 20

    def _maps(self, folder: Path, answers: pd.DataFrame, arch: str, seed: int) -> str:
        path, draw = folder / "maps" / arch / f"seed-{seed}" / "cams.h5", np.random.default_rng(seed)
        own = answers[(answers["arch"] == arch) & (answers["seed"] == seed)]
        y, x = np.mgrid[:6, :6] * 8 + 4
        maps = np.stack(
            [np.exp(-((x - self.place(r)[0]) ** 2 + (y - self.place(r)[1]) ** 2) / 160) for r in range(len(own))]
        )
        maps = (maps + draw.uniform(0, 0.2, maps.shape)).astype(np.float32)
        maps[own["label"].to_numpy() == "normal"] = 1.0
        rows_ = pd.DataFrame(
            {"image_id": own["image_id"], "target": 0, "role": np.where(own["correct"], "both", "predicted")}
        )
        with hdf5.MapWriter(path, rows_, {}) as writer:
            writer.put("gradcam", map_info.MapInfo("gradcam", "layer4", "native", False, 1), 0, maps[:, None], 0.1)
            for number, method in enumerate(("lime", "kernel_shap")):
                info, found = map_info.MapInfo(method, "", "input", True, 1, "logit"), self.weights(len(own), draw)
                spread = 0.3 / (1 + number)
                notes = {
                    f"agreement_{m}": 1 - spread * draw.uniform(0.5, 2, len(own)) * 125 / m for m in (125, 250, 500)
                }
                notes |= {"superpixels": np.full(len(own), 36.0), "fit": np.full(len(own), 0.8)}
                notes = {name: values.astype(np.float32) for name, values in notes.items()}
                writer.put(method, info, 0, found[:, None], 0.1, notes)
        return str(path)

    @staticmethod
    def weights(count: int, draw: np.random.Generator) -> NDArray[np.float32]:
        """Maps of 6 x 6 superpixels of 8 x 8 pixels."""
        return draw.normal(0, 1, (count, 6, 6)).repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
