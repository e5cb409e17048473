"""Where every file of a study lies: the one place that knows a path, for the rules and for every reader.

A study that stands on a base takes data, models and predictions from the base's folder and keeps the rest in its own. One
that evaluates another study's models reads their weights where they lie and writes cards of its own. In braces: Snakemake's
wildcards.
"""

from dataclasses import dataclass
from pathlib import Path

MODEL = "{arch}/seed-{seed}"
RESOURCES = "resources"


@dataclass(frozen=True)
class Layout:
    """Paths of one study, relative to the working directory."""

    study: str
    home: str  # the study that owns data, cards and predictions: the base, or the study itself
    models: str  # the study that owns the weights: the external one, or the home

    def _own(self, path: str) -> str:
        return f"results/{self.study}/{path}"

    def _home(self, path: str) -> str:
        return f"results/{self.home}/{path}"

    def _trained(self, path: str) -> str:
        return f"results/{self.models}/{path}"

    # where the models come from, if not from here: read, never written
    @property
    def trained_card(self) -> str:
        return self._trained(f"models/{MODEL}/card.json")

    @property
    def trained_predictions(self) -> str:
        return self._trained(f"predictions/{MODEL}.parquet")

    @property
    def trained_manifest(self) -> str:
        return self._trained("data/manifest.parquet")

    @property
    def trained_splits(self) -> str:
        return self._trained("data/splits.parquet")

    # data and models, shared with the studies that stand on this one
    @property
    def manifest(self) -> str:
        return self._home("data/manifest.parquet")

    @property
    def groups(self) -> str:
        return self._home("data/groups.parquet")

    @property
    def links(self) -> str:
        return self._home("data/links.parquet")

    @property
    def groups_report(self) -> str:
        return self._home("data/groups.json")

    @property
    def gate(self) -> str:
        return self._home("data/gate.json")

    @property
    def audit(self) -> str:
        return self._home("data/audit.json")

    @property
    def splits(self) -> str:
        return self._home("data/splits.parquet")

    @property
    def split_report(self) -> str:
        return self._home("data/split.json")

    @property
    def images(self) -> str:
        return self._home("data/images.h5")

    @property
    def weights(self) -> str:
        return self._trained(f"models/{MODEL}/weights.safetensors")

    @property
    def card(self) -> str:
        return self._home(f"models/{MODEL}/card.json")

    @property
    def history(self) -> str:
        return self._home(f"models/{MODEL}/history.csv")

    @property
    def predictions(self) -> str:
        return self._home(f"predictions/{MODEL}.parquet")

    @staticmethod
    def fetched(dataset: str) -> str:
        return f"{RESOURCES}/{dataset}/fetched.json"

    @staticmethod
    def pretrained(timm: str) -> str:
        return f"{RESOURCES}/weights/{timm}.safetensors"

    @staticmethod
    def pretrained_record(timm: str) -> str:
        return f"{RESOURCES}/weights/{timm}.json"

    @staticmethod
    def progress(weights: str) -> Path:
        """Where the training of these weights keeps its states: no output of a rule, for Snakemake takes those of a failed job away."""
        return Path(weights).with_name("progress")

    @staticmethod
    def events(weights: str) -> Path:
        """TensorBoard's, kept when the training is done."""
        return Path(weights).with_name("events")

    # one study's own
    @property
    def maps(self) -> str:
        return self._own(f"maps/{MODEL}/{{bundle}}.h5")

    @property
    def faithfulness(self) -> str:
        return self._own(f"scores/faithfulness/{MODEL}/{{bundle}}.{{battery}}.parquet")

    @property
    def faithfulness_curves(self) -> str:
        return self._own(f"scores/faithfulness/{MODEL}/{{bundle}}.{{battery}}.curves.parquet")

    @property
    def localization(self) -> str:
        return self._own(f"scores/localization/{MODEL}.parquet")

    @property
    def agreement(self) -> str:
        return self._own("scores/agreement/{arch}.parquet")

    @property
    def across(self) -> str:
        return self._own("scores/agreement/across.parquet")

    @property
    def randomisation(self) -> str:
        return self._own(f"scores/randomisation/{MODEL}/{{bundle}}.parquet")

    @property
    def scores(self) -> str:
        return self._own("scores.parquet")

    @property
    def curves(self) -> str:
        return self._own("curves.parquet")

    @property
    def estimates(self) -> str:
        return self._own("estimates.parquet")

    @property
    def contrasts(self) -> str:
        return self._own("contrasts.parquet")

    @property
    def ranks(self) -> str:
        return self._own("ranks.parquet")

    @property
    def meta(self) -> str:
        return self._own("meta.parquet")

    @property
    def classification(self) -> str:
        return self._own("classification.parquet")

    @property
    def provenance(self) -> str:
        return self._own("provenance.json")

    def figure(self, figure: str, suffix: str) -> str:
        return self._own(f"figures/{figure}.{suffix}")

    def table(self, table: str, suffix: str) -> str:
        return self._own(f"tables/{table}.{suffix}")

    # what a run says of itself
    def log(self, rule: str, *wildcards: str) -> str:
        return self._own(f"logs/{self._stem(rule, *wildcards)}.log")

    def benchmark(self, rule: str, *wildcards: str) -> str:
        return self._own(f"benchmarks/{self._stem(rule, *wildcards)}.tsv")

    def home_log(self, rule: str, *wildcards: str) -> str:
        return self._home(f"logs/{self._stem(rule, *wildcards)}.log")

    def home_benchmark(self, rule: str, *wildcards: str) -> str:
        return self._home(f"benchmarks/{self._stem(rule, *wildcards)}.tsv")

    @staticmethod
    def _stem(rule: str, *wildcards: str) -> str:
        return "/".join((rule, "_".join(f"{{{name}}}" for name in wildcards))) if wildcards else rule
