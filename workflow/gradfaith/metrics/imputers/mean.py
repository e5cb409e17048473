"""Mean: a removed pixel becomes the mean of the training images, one number for all channels.

Published code that multiplies a normalised tensor by the mask has the same effect. Cost: none.
"""

from torch import Tensor

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Context, Imputer

IMPUTER = Imputer(fill="the dataset's mean grey")


def fill(images: Tensor, context: Context) -> Tensor:  # (m, c, h, w)
    if context.mean is None:
        raise StudyInvalid(
            problem="the imputer mean is used, but the mean of the training images is missing.",
            reason="The image's own mean would fill every image differently.",
            fix="Give the masking runner the mean of the training images, in [0, 1], one value per channel.",
        )
    mean: Tensor = context.mean.to(images)
    return mean.reshape(1, -1, 1, 1).expand_as(images)
