"""Errors in three parts: the problem with the values found, the reason, and the fix.

    raise MaskSizeMismatch(
        problem='the mask of "a.png" is 512 x 512 pixels, the image is 512 x 511.',
        reason="Masks are compared with the image pixel by pixel, so they are not resized.",
        fix="Export the mask at 512 x 511, or leave it out.",
    )

The class name appears in logs and documents, so each kind of error has one class.
"""

from collections.abc import Sequence
from typing import ClassVar

NAMED = 5  # names that a message lists before it counts the rest


def name_some(names: Sequence[object], *, most: int = NAMED) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


class GradFaithError(Exception):
    """Base of all errors that a user can fix; printed without a traceback.

    Args:
        problem: what is wrong, with the values found.
        reason: why that is an error, if it is not obvious.
        fix: the command or edit that fixes it.

    A job that ends with one is not retried, unless its class says that another attempt can succeed.
    """

    retry: ClassVar[bool] = False

    def __init__(self, *, problem: str, reason: str, fix: str) -> None:
        super().__init__(problem)
        self.problem, self.reason, self.fix = problem, reason, fix

    def __str__(self) -> str:
        return f"{type(self).__name__}: {self.problem}\n  {self.reason}\n  {self.fix}"


class StudyInvalid(GradFaithError):
    """The study file asks for something that is misspelt, unknown or contradictory."""


class SettingsInvalid(GradFaithError):
    """The params of a job are not the settings that its script reads."""


class UnknownName(GradFaithError):
    """No plug-in of this group has this name."""


class BrokenPlugin(GradFaithError):
    """The declaration or an option of a plug-in file cannot be read."""


class DatasetInvalid(GradFaithError):
    """The raw data is not what its reader expects: an empty class, a missing folder, no groups."""


class UnreadableImage(GradFaithError):
    """A file that should be an image cannot be decoded."""


class MaskSizeMismatch(GradFaithError):
    """An evidence mask and its image differ in size."""


class LossyMask(GradFaithError):
    """An evidence mask was kept in a way that changes its pixels."""


class SplitImpossible(GradFaithError):
    """No split by group can honour what the study asks for."""


class BrokenStore(GradFaithError):
    """An HDF5 store is truncated, incomplete, foreign, or of another format."""


class BrokenTable(GradFaithError):
    """A Parquet table cannot be read, or its columns are not those of its schema."""


class BrokenDocument(GradFaithError):
    """A JSON file, or a list of raw files, is cut, edited, or not as it was written."""


class ForeignFile(GradFaithError):
    """A table, store or card belongs elsewhere, or was made from other files than those beside it."""


class CannotWrite(GradFaithError):
    """An output could not be written whole; nothing of it was left behind."""


class LayerUnusable(GradFaithError):
    """A layer yields no map: no grid, no gradient, or not a finite one."""


class MethodUndefined(GradFaithError):
    """An attribution method means nothing on this network, or cannot be asked this way."""


class ModelUnusable(GradFaithError):
    """A model cannot be built, loaded or trained as the study asks."""


class DeviceMissing(GradFaithError):
    """The study asks for a device this machine does not offer."""


class OutOfMemory(GradFaithError):
    """What must lie in memory at once does not fit."""

    retry = True


class TrainingInterrupted(GradFaithError):
    """A training was asked to end; its state is kept."""

    retry = True


class ForeignProgress(GradFaithError):
    """The states beside a model are of a training that this one is not."""


class JobAlive(GradFaithError):
    """A process of an earlier run still works on the files of this one."""


class LockLost(GradFaithError):
    """A process was frozen, and another one took over the folder that it held."""


class SnakemakeFailed(GradFaithError):
    """The snakemake executable is missing, or did not answer what was asked."""


class StillLocked(GradFaithError):
    """The lock of an earlier run is still there."""


class FetchFailed(GradFaithError):
    """A dataset's files or pretrained weights could be had from no source, or one download did not come whole."""

    retry = True


class SourceInvalid(FetchFailed):
    """A source that another attempt would not find either: a wrong address, a missing file, an answer such as 404."""

    retry = False


def is_final_status(status: int) -> bool:
    """Tell whether a server that gives this HTTP status would give it again: 404 and its kin, and not "too many requests"."""
    return 400 <= status < 500 and status not in {408, 425, 429}


class UnsafeArchive(GradFaithError):
    """A ZIP file would write outside its folder, make links, or swell beyond its limits."""


class BrokenArchive(GradFaithError):
    """A ZIP file is damaged, encrypted, or packed in a way that is not read here."""


class LeakySplit(GradFaithError):
    """The split puts on both sides what a nearest neighbour recognises."""


class NotInStudy(GradFaithError):
    """What was asked for by name, an architecture, a seed, a class or an image, is not the study's."""


class ImputationFailed(GradFaithError):
    """The pixels taken from an image could not be filled from those that stayed."""
