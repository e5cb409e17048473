"""Return the path of every file, for rules and readers. No other module builds paths.

config/ has studies and datasets, resources/ what comes in, results/ one folder per study. A study with a base uses the data,
models and predictions in the base's folder. A study that evaluates another study's models reads the weights there, and writes
its own cards. Rules use strings with wildcards in braces; functions that take `root`, the working directory, return `Path`s.
"""

from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[3]  # the folder of the Snakefile
ARCH_AND_SEED = "{arch}/seed-{seed}"
STUDIES, DATASETS = "config/studies", "config/datasets"
RESULTS, RESOURCES = "results", "resources"
STAGES = ("data", "models", "predictions", "maps", "attributions", "scores", "figures", "tables")  # folders
TABLE_STUDY = {  # what only a study of tables has
    "table": "data/table.parquet", "attributions": f"attributions/{ARCH_AND_SEED}.parquet",
    "boundary": f"attributions/{ARCH_AND_SEED}.boundary.parquet", "table_scores": "scores/table/{arch}.parquet",
}  # fmt: skip
TRAINING_STATE = "progress"  # folder beside a model's weights
RECORD_ENDING = ".job.json"  # of the record of a finished job, beside its log
TENSORBOARD_EVENTS = "events"  # folder beside a model's weights


def named_study_file(root: Path, study: str) -> Path:
    """Return the first file in which GradFaith looks for a study of this name."""
    return root / STUDIES / f"{study}.yaml"


def study_files(root: Path) -> list[Path]:
    """List the files that may describe a study: config/config.yaml first, then those of config/studies/, sorted."""
    return [root / "config/config.yaml", *sorted((root / STUDIES).glob("*.yaml"))]


def dataset_file(root: Path, dataset: str) -> Path:
    """Return the file that describes a dataset."""
    return root / DATASETS / f"{dataset}.yaml"


def dataset_names(root: Path) -> list[str]:
    """List the datasets that have a file in config/datasets/, sorted."""
    return sorted(file.stem for file in (root / DATASETS).glob("*.yaml"))


def fetched_images(dataset: str) -> str:
    """Return the folder of a dataset's fetched images."""
    return raw_folder(Path(RESOURCES, dataset)).as_posix()


def raw_folder(dataset_folder: Path) -> Path:
    """Return the folder of fetched images in a dataset's folder of resources/."""
    return dataset_folder / "raw"


def download_folder(dataset_folder: Path) -> Path:
    """Return the folder of downloaded archives in a dataset's folder of resources/."""
    return dataset_folder / "download"


def private_key(dataset: str) -> Path:
    """Return the file of the key with which the names of a private dataset are hashed."""
    return Path(RESOURCES, dataset, "private.key")


def raw_digests(dataset: str) -> Path:
    """Return the file that stores the digests of a dataset's raw files between runs."""
    return Path(RESOURCES, dataset, ".digests.json")


def job_logs(root: Path, ending: str = ".log") -> list[Path]:
    """List the logs of all jobs of all studies, or the files beside them with another ending, sorted."""
    return sorted([*root.glob(f"{RESULTS}/*/logs/**/*{ending}"), *root.glob(f"{RESOURCES}/*/*{ending}")])


def declared_results(root: Path) -> list[Path]:
    """List the files of all studies that are outputs of rules, relative to `root`, sorted."""
    results = root / RESULTS
    paths = [*results.glob("*/*.parquet"), *results.glob("*/*.json")]
    for stage in STAGES:
        paths += results.glob(f"*/{stage}/**/*")
    files = sorted(path.relative_to(root) for path in paths if path.is_file() and not path.name.startswith("."))
    return [path for path in files if not {TRAINING_STATE, TENSORBOARD_EVENTS} & set(path.parts)]


@dataclass(frozen=True)
class StudyPaths:
    """The paths of one study, relative to the working directory, as the rules use them."""

    study: str
    home: str  # the study that owns data, cards and predictions: the base, or the study itself
    models: str  # the study that owns the weights: the external one, or the home

    def _own(self, path: str) -> str:
        return f"{RESULTS}/{self.study}/{path}"

    def _home(self, path: str) -> str:
        return f"{RESULTS}/{self.home}/{path}"

    def _trained(self, path: str) -> str:
        return f"{RESULTS}/{self.models}/{path}"

    # of the study that trained the models: read, never written
    @property
    def trained_card(self) -> str:
        return self._trained(f"models/{ARCH_AND_SEED}/card.json")

    @property
    def trained_predictions(self) -> str:
        return self._trained(f"predictions/{ARCH_AND_SEED}.parquet")

    @property
    def trained_manifest(self) -> str:
        return self._trained("data/manifest.parquet")

    @property
    def trained_splits(self) -> str:
        return self._trained("data/splits.parquet")

    # data and models, shared with studies that have this study as base
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
    def leakage_check(self) -> str:
        return self._home("data/leakage.json")

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
        return self._trained(f"models/{ARCH_AND_SEED}/weights.safetensors")

    @property
    def card(self) -> str:
        return self._home(f"models/{ARCH_AND_SEED}/card.json")

    @property
    def history(self) -> str:
        return self._home(f"models/{ARCH_AND_SEED}/history.csv")

    @property
    def predictions(self) -> str:
        return self._home(f"predictions/{ARCH_AND_SEED}.parquet")

    @staticmethod
    def training_state(beside: str) -> Path:
        """Return the folder of a training's checkpoints. It is no output, because Snakemake deletes outputs of failed jobs."""
        return Path(beside).with_name(TRAINING_STATE)

    @staticmethod
    def tensorboard_events(weights: str) -> Path:
        return Path(weights).with_name(TENSORBOARD_EVENTS)

    @staticmethod
    def fetched(dataset: str) -> str:
        """Return the record of a dataset's fetched files."""
        return f"{RESOURCES}/{dataset}/fetched.json"

    def raw_listing(self, dataset: str) -> str:
        return f"{RESOURCES}/{dataset}/listings/{self.home}.tsv"

    @staticmethod
    def pretrained(timm: str) -> str:
        return f"{RESOURCES}/weights/{timm}.safetensors"

    @staticmethod
    def pretrained_record(timm: str) -> str:
        return f"{RESOURCES}/weights/{timm}.json"

    @staticmethod
    def beside(output: str, suffix: str) -> str:
        """Return the log or benchmark of a job that writes into resources/: a file beside its output."""
        return str(Path(output).with_suffix(suffix))

    # of this study only
    @property
    def maps(self) -> str:
        return self._own(f"maps/{ARCH_AND_SEED}/{{bundle}}.h5")

    @property
    def faithfulness(self) -> str:
        return self._own(f"scores/faithfulness/{ARCH_AND_SEED}/{{bundle}}.{{battery}}.parquet")

    @property
    def faithfulness_curves(self) -> str:
        return self._own(f"scores/faithfulness/{ARCH_AND_SEED}/{{bundle}}.{{battery}}.curves.parquet")

    @property
    def localization(self) -> str:
        return self._own(f"scores/localization/{ARCH_AND_SEED}.parquet")

    @property
    def agreement(self) -> str:
        return self._own("scores/agreement/{arch}.parquet")

    @property
    def across(self) -> str:
        return self._own("scores/across.parquet")

    @property
    def randomisation(self) -> str:
        return self._own(f"scores/randomisation/{ARCH_AND_SEED}/{{bundle}}.parquet")

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
    def claims(self) -> str:
        return self._own("claims.parquet")

    @property
    def verdict(self) -> str:
        return self._own("verdict.json")

    @property
    def provenance(self) -> str:
        return self._own("provenance.json")

    def of_table(self, kind: str) -> str:
        return self._own(TABLE_STUDY[kind])

    def figure(self, figure: str, suffix: str) -> str:
        return self._own(f"figures/{figure}.{suffix}")

    def table(self, table: str, suffix: str) -> str:
        return self._own(f"tables/{table}.{suffix}")

    def export(self, tool: str) -> str:
        return self._own(f"export/{tool}")

    # logs and benchmarks, named after the rule and its wildcards
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
        """Return the path of a job below `logs/`; labels contain no `/` and no `.`, so paths are unique."""
        parts = {"arch": "/{arch}", "seed": "/seed-{seed}", "bundle": "/{bundle}", "battery": ".{battery}"}
        return rule + "".join(parts[name] for name in wildcards)
