"""How groups are inferred: the thresholds of data/groups.py, apart from it because a study is read without its libraries."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Cue = Literal["order", "couch", "duplicates", "lungs"]
VERSION = 2  # of the algorithm: raised when another version may join other images


class Grouping(BaseModel):
    """What joins two images. The defaults are calibrated to IQ-OTH/NCCD, on its own files, and validated on no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cues: list[Cue] = Field(
        default=["order", "couch", "duplicates", "lungs"],
        description="order: neighbours in the numbering look alike; couch: they lie on the same table; duplicates: any two "
        "images are nearly the same; lungs: their lungs are. Identical images are always joined",
    )
    order_ncc: float = Field(0.93, gt=0, le=1, description="neighbours: correlation at 64 px, best of small shifts")
    couch: float = Field(0.70, gt=0, le=1, description="cosine of what is bright and thin beside and below the body")
    couch_energy: float = Field(
        2.0e6, gt=0, description="less than this of it is no evidence for a couch or against one"
    )
    reach: int = Field(3, ge=1, description="runs of neighbours so far apart are joined by their couch")
    duplicate_ncc: float = Field(0.90, gt=0, le=1, description="any two images: correlation at 128 px")
    same_couch: float = Field(0.97, gt=0, le=1, description="any two images with a couch as like as this ...")
    same_couch_ncc: float = Field(0.95, gt=0, le=1, description="... and a correlation at 64 px as high as this")
    lungs_ncc: float = Field(0.92, gt=0, le=1, description="any two images: correlation of the lungs' boxes")
    must_links: str = Field("", description="a table (a, b, reason) of file names that belong together by eye")
