"""Errors in three parts: what was found, why that cannot be, what to do next.

    raise MaskSizeMismatch(
        found='mask of "a.png" is 512 x 511, its image is 512 x 512.',
        why="A mask must lie on its image pixel by pixel; resizing it here would move the evidence.",
        then="Re-export the mask at 512 x 512, or leave it out.",
    )

The class name is the error's name in logs and documents, so there is one class per kind of refusal.
"""


class Refusal(Exception):
    """Something the workflow will not do, said so that its reader can mend it."""

    def __init__(self, *, found: str, why: str, then: str) -> None:
        super().__init__(found)
        self.found, self.why, self.then = found, why, then

    def __str__(self) -> str:
        return f"{type(self).__name__}: {self.found}\n  {self.why}\n  {self.then}"


class StudyInvalid(Refusal):
    """The study file asks for something that is misspelt, unknown or contradictory."""


class UnknownName(Refusal):
    """No method, metric, reader, imputer or figure has this name."""


class DatasetInvalid(Refusal):
    """The raw data is not what its reader expects: an empty class, a missing folder, no groups."""


class UnreadableImage(Refusal):
    """A file that should be an image cannot be decoded."""


class MaskSizeMismatch(Refusal):
    """An evidence mask and its image differ in size."""


class LossyMask(Refusal):
    """An evidence mask was kept in a way that changes its pixels."""


class SplitImpossible(Refusal):
    """No split by group can honour what the study asks for."""


class BrokenStore(Refusal):
    """An HDF5 store is truncated, incomplete, foreign, or of another format."""


class BrokenTable(Refusal):
    """A Parquet table cannot be read, or its columns are not those of its schema."""


class CannotWrite(Refusal):
    """An output could not be written whole; nothing of it was left behind."""


class LayerUnusable(Refusal):
    """A layer yields no map: no grid, no gradient, or not a finite one."""


class MethodUndefined(Refusal):
    """An attribution method means nothing on this network, or cannot be asked this way."""


class ModelUnusable(Refusal):
    """A model cannot be built, loaded or trained as the study asks."""


class DeviceMissing(Refusal):
    """The study asks for a device this machine does not offer."""


class OutOfMemory(Refusal):
    """What must lie in memory at once does not fit."""


class TrainingInterrupted(Refusal):
    """A training was asked to end; its state is kept."""


class ForeignProgress(Refusal):
    """The states beside a model are of a training that this one is not."""


class JobAlive(Refusal):
    """A process of an earlier run still works on the files of this one."""


class StillLocked(Refusal):
    """Snakemake did not take the lock of an earlier run away."""


class FetchFailed(Refusal):
    """A dataset's files could be had from none of its sources, or one download did not come whole."""


class UnsafeArchive(Refusal):
    """A ZIP file would write outside its folder, make links, or swell beyond its limits."""


class BrokenArchive(Refusal):
    """A ZIP file is damaged, encrypted, or packed in a way that is not read here."""


class LeakySplit(Refusal):
    """The split puts on both sides what a nearest neighbour recognises."""


class NotInStudy(Refusal):
    """What was asked for by name, an architecture, a seed, a class or an image, is not the study's."""


class ImputationFailed(Refusal):
    """The pixels taken from an image could not be filled from those that stayed."""
