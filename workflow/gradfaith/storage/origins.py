"""Check that the inputs of a job belong together: each has its own path, and none was made from another version of a file.

    origins = check_inputs(job.input)
    parquet.write(job.output[0], table, schema, origins)

`origins` contains the digest of every input and of the files that the inputs were made from. The output stores it, so
a table of estimates still identifies the images, weights and maps behind it.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gradfaith.errors import BrokenDocument, ForeignFile
from gradfaith.storage import hdf5_file, json_file, parquet
from gradfaith.storage.identity import Identity, advise_replacement


def check_inputs(paths: Iterable[Path | str]) -> dict[str, str]:
    """Return path -> digest of the tables, stores and cards among `paths`, and of all files behind them.

    Raises:
        ForeignFile: a file belongs to another path, or two files were made from different versions of a third.
    """
    digests: dict[str, str] = {}
    source: dict[str, str] = {}  # path -> the file that states its digest: itself, or one that was made from it
    for path in map(str, paths):
        read = next((reader for end, reader in READERS.items() if path.endswith(end)), None)
        if read is None:
            continue  # a report or a weight file: the card contains the digest of the weights
        identity, digest = read(path)
        identity.check_place(path)
        for name, found in {path: digest, **identity.made_from}.items():
            if digests.setdefault(name, found) != found:
                raise _made_from_another(name, source[name], path)
            source.setdefault(name, path)
    return digests


def read_card_identity(path: Path | str) -> tuple[Identity, str]:
    """Return the identity of a model's card, and the digest of the weights that it describes."""
    card = json_file.read(path)
    try:
        return Identity("card", arch=str(card["arch"]), seed=int(card["seed"])), str(card["weights_sha256"])
    except (ValueError, LookupError, TypeError) as error:
        raise BrokenDocument(
            problem=f"{path} is not a model card of GradFaith: {error}.",
            reason="The model card (card.json) states the architecture and seed of the weights.",
            fix=advise_replacement(Path(path).parent),
        ) from error


READERS: Mapping[str, Callable[[Path | str], tuple[Identity, str]]] = {
    ".parquet": parquet.read_identity,
    ".h5": hdf5_file.read_identity,
    "card.json": read_card_identity,
    "verdict.json": json_file.read_identity,
}


def _made_from_another(name: str, first: str, second: str) -> ForeignFile:
    """Return the error for two files made from different versions of a third, or for one made from another version."""
    older = [path for path in (first, second) if path != name]
    one = f"{older[0]} was made from another version of {name} than the present one"
    both = f"{' and '.join(older)} were made from different versions of {name}"
    return ForeignFile(
        problem=f"{both if len(older) == 2 else one}.",
        reason="Numbers of two different computations would be mixed.",
        fix=advise_replacement(*older),
    )
