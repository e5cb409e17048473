"""Errors in three parts: the problem with the values found, the reason, and the fix.

    raise MaskSizeMismatch(
        problem='the mask of "a.png" is 512 x 512 pixels, the image is 512 x 511.',
        reason="Masks are compared with the image pixel by pixel, so they are not resized.",
        fix="Export the mask at 512 x 511, or leave it out.",
    )

The class name appears in logs and documents. Each kind of error has its own class.
"""

from collections.abc import Sequence
from typing import ClassVar

NAMED = 5  # names that a message lists before it counts the rest


def name_some(names: Sequence[object], *, most: int = NAMED) -> str:
    """Return the first names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


class GradFaithError(Exception):
    """Base class of all errors that a user can fix. They are printed without a traceback.

    Args:
        problem: what is wrong, with the values found.
        reason: why that is an error, if it is not obvious.
        fix: the command or edit that fixes it.

    Snakemake does not retry a job that ends with such an error, unless its class states that a retry can succeed.
    """

    retry: ClassVar[bool] = False

    def __init__(self, *, problem: str, reason: str, fix: str) -> None:
        super().__init__(problem)
        self.problem, self.reason, self.fix = problem, reason, fix

    def __str__(self) -> str:
        return f"{type(self).__name__}: {self.problem}\n  {self.reason}\n  {self.fix}"


class StudyInvalid(GradFaithError):
    """The study file holds a key or value that is misspelt, unknown or contradictory."""


class ArgumentInvalid(GradFaithError):
    """An argument of a command has a value that it cannot have."""


class SettingsInvalid(GradFaithError):
    """The params of a job do not match the settings that its script reads."""


class UnknownName(GradFaithError):
    """No plug-in of this group has this name."""


class ClusterUnknown(GradFaithError):
    """SLURM does not say what the cluster has, or the profile has no place for it."""


class OutsideProject(GradFaithError):
    """A command was called outside the folder of the project."""


class BrokenPlugin(GradFaithError):
    """The declaration or an option of a plug-in file cannot be read."""


class DatasetInvalid(GradFaithError):
    """The raw data is not as its reader expects: an empty class, a missing folder, no groups."""


class UnreadableImage(GradFaithError):
    """A file that should be an image cannot be decoded."""


class MaskSizeMismatch(GradFaithError):
    """An evidence mask and its image differ in size."""


class LossyMask(GradFaithError):
    """An evidence mask was saved in a lossy format, which changes its pixels."""


class SplitImpossible(GradFaithError):
    """No split by group meets the study's settings."""


class BrokenStore(GradFaithError):
    """An HDF5 store is truncated, incomplete, not written by GradFaith, or of another format version."""


class BrokenTable(GradFaithError):
    """A Parquet table cannot be read, or its columns differ from its schema."""


class BrokenDocument(GradFaithError):
    """A JSON file, or a list of raw files, is truncated, edited or damaged."""


class ForeignFile(GradFaithError):
    """A table, store or card belongs to another path, or was made from files other than those beside it."""


class MissingPackage(GradFaithError):
    """A command needs a package that is no dependency and is not installed."""


class CannotWrite(GradFaithError):
    """An output could not be written completely. No partial file is left."""


class LayerUnusable(GradFaithError):
    """A layer yields no map: it has no grid, no gradient, or a gradient that is not finite."""


class MethodUndefined(GradFaithError):
    """An attribution method is not defined for this network, or not with these options."""


class ModelUnusable(GradFaithError):
    """A model cannot be built, loaded or trained with the study's settings."""


class CodeNotTrusted(GradFaithError):
    """A study names code outside GradFaith, without a permission on the command line."""


class DeviceMissing(GradFaithError):
    """The study names a device that this machine does not have."""


class OutOfMemory(GradFaithError):
    """The data that must be in memory at once does not fit."""

    retry = True


class TrainingInterrupted(GradFaithError):
    """A training received a signal to end. Its state is saved."""

    retry = True


class ForeignProgress(GradFaithError):
    """The checkpoints beside a model belong to another training."""


class JobAlive(GradFaithError):
    """A process of an earlier run is still writing the files of this run."""


class LockLost(GradFaithError):
    """A process was suspended, and another process took over the folder that it had locked."""


class SnakemakeFailed(GradFaithError):
    """The snakemake executable is missing, or its output could not be used."""


class StillLocked(GradFaithError):
    """The lock of an earlier run is still there."""


class FetchFailed(GradFaithError):
    """No source provided a dataset's files or pretrained weights, or a download is incomplete."""

    retry = True


class SourceInvalid(FetchFailed):
    """A source for which a retry would fail too: a wrong address, a missing file, an HTTP status such as 404."""

    retry = False


def is_final_status(status: int) -> bool:
    """Return whether a retry would receive the same HTTP status: true for 404 and similar, false for "too many requests"."""
    return 400 <= status < 500 and status not in {408, 425, 429}


class UnsafeArchive(GradFaithError):
    """A ZIP file would write outside its folder, make links, or exceed the size limits when unpacked."""


class BrokenArchive(GradFaithError):
    """A ZIP file is damaged, encrypted, or uses a compression that GradFaith does not read."""


class LeakySplit(GradFaithError):
    """The split leaks: a nearest-neighbour search finds test images in the training part."""


class NotInStudy(GradFaithError):
    """A requested architecture, seed, class or image is not part of the study."""


class NoComparableScores(GradFaithError):
    """A metric that others are compared with has no scores that they can be compared with."""


class ImputationFailed(GradFaithError):
    """The pixels taken from an image could not be filled from those that stayed."""
