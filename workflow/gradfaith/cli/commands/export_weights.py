"""gradfaith export-weights STUDY: write the trained weights of a study as files that others can check and load.

    FOLDER/<arch>-seed-<s>.safetensors   the network's tensors under timm's names, without GradFaith's prefix
    FOLDER/<arch>-seed-<s>.json          the record: network, classes, normalisation, source, SHA-256 of the file
    FOLDER/SHA256SUMS                    for `sha256sum --check SHA256SUMS`

A study with `weights: FILE` and `training: none` loads such a file and has the same predictions, bit for bit. It compares the
file with the record beside it first. The normalisation is in the record, because it is no tensor: it belongs into `image:`.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from gradfaith.cli.command import Command, add_study_argument, read_plan
from gradfaith.errors import CannotWrite, NotInStudy
from gradfaith.storage import json_file

COMMAND = Command(summary="write the trained weights of a study as safetensors files with checksums")
PREFIX = "net."  # of the network's tensors in a classifier
SUMS = "SHA256SUMS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_study_argument(parser)
    parser.add_argument("--folder", type=Path, help="a new folder to write into; default: results/STUDY/export/weights")


def run(arguments: argparse.Namespace) -> None:
    """Write every trained model of the study, and print the keys with which a study uses one of them."""
    _, plan = read_plan(arguments.study)
    folder = arguments.folder or Path(plan.paths.export("weights"))
    if folder.exists():
        raise CannotWrite(
            problem=f"{folder} exists.",
            reason="`export-weights` never replaces a file, because others may have its checksum.",
            fix="Name a new folder with --folder.",
        )
    models = {
        f"{arch}-seed-{seed}": tuple(
            Path(path.format(arch=arch, seed=seed)) for path in (plan.paths.weights, plan.paths.card)
        )
        for arch, seed in product(plan.architectures, plan.study.seeds)
    }
    missing = [str(path) for files in models.values() for path in files if not path.is_file()]
    if missing:
        raise NotInStudy(
            problem=f"{len(missing)} files of models are missing, for instance {missing[0]}.",
            reason="The command writes the weights of finished trainings.",
            fix=f"Run the study first: gradfaith run {arguments.study}",
        )
    folder.mkdir(parents=True)
    study = plan.study.study
    records = {
        name: export_model(weights, card, folder / f"{name}.safetensors", study)
        for name, (weights, card) in models.items()
    }
    lines = [f"{record['sha256']}  {name}.safetensors\n" for name, record in records.items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    print(f"{len(records)} weight files, their records and {SUMS} are in {folder}. To measure one of them:")
    first, record = next(iter(records.items()))
    print(_keys_of_study(folder / f"{first}.safetensors", record))


def export_model(weights: Path, card_path: Path, target: Path, study: str) -> dict[str, Any]:
    """Write one model and its record beside it; return the record. The SHA-256 in the card is checked before."""
    from safetensors.torch import save_file

    from gradfaith.models import checkpoint

    card = checkpoint.read_card(card_path)
    tensors = checkpoint.load(weights, card_path).state_dict()
    save_file({name.removeprefix(PREFIX): value.contiguous() for name, value in tensors.items()}, target)
    spec = card["spec"]
    record: dict[str, Any] = {
        **{key: spec[key] for key in ("timm", "options", "in_chans", "channels", "size", "mean", "std")},
        **{key: card[key] for key in ("arch", "seed", "classes", "parameters", "versions") if key in card},
        "module": spec.get("module", ""),
        "study": study,
        "sha256": checkpoint.file_sha256(target),
    }
    json_file.write(target.with_suffix(".json"), record, sort_keys=True)
    return record


def _keys_of_study(weights: Path, record: dict[str, Any]) -> str:
    """Return the keys of a study that uses one of the files."""
    own = {"timm": record["timm"], "module": record["module"], "options": record["options"]}
    network = ", ".join(f"{key}: {value}" for key, value in own.items() if value)
    return (
        f"  architectures: {{{record['arch']}: {{{network}, in_chans: {record['in_chans']}, weights: {weights.resolve()}}}}}\n"
        f"  image: {{size: {record['size']}, channels: {record['channels']}, mean: {record['mean']}, std: {record['std']}}}\n"
        f"  training: none\n  seeds: [{record['seed']}]\n"
        f"  # classes of the dataset, in this order: {', '.join(record['classes'])}"
    )
