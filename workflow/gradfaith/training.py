"""What a study says of its networks and how they are trained; read while the DAG is built, so without torch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Closed(BaseModel):
    """Unknown keys are refused; values do not change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Architecture(Closed):
    """One network: any timm name."""

    timm: str = Field("", description="the timm name; empty: the key itself")
    in_chans: Literal[1, 3] = Field(3, description="channels of the network; a grey image is repeated for 3")
    options: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of timm.create_model, such as output_stride"
    )
    layer: str = Field("auto", description="the module that maps are taken from; `auto`: the default of its family")
    weights: str = Field(
        "",
        description="a safetensors file to start from (or, with `training: none`, to use); overrides training.weights",
    )


class Training(Closed):
    """The recipe: all that decides the weights, with the architecture and the seed."""

    epochs: int = Field(ge=1, description="passes over the training part")
    batch: int = Field(32, ge=1, description="images per step")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decay")
    warmup_epochs: float = Field(2.0, ge=0, description="epochs of linear warm-up before the cosine")
    label_smoothing: Share = Field(0.0, description="share of the label given to the other classes")
    class_weights: bool = Field(True, description="weigh classes by the inverse of their frequency")
    group_weights: bool = Field(
        False,
        description="weigh images by the inverse of their group's size within its class, so that no patient dominates",
    )
    max_slices_per_group: int | None = Field(
        None, ge=1, description="train on at most so many images of a group, evenly spaced; empty: on all"
    )
    flip: bool = Field(True, description="augmentation: mirror left and right, every second image")
    shift: Share = Field(0.05, description="augmentation: largest shift, as a share of the side")
    rotate: float = Field(10.0, ge=0, le=180, description="augmentation: largest rotation, in degrees")
    scale: Share = Field(0.0, description="augmentation: largest zoom, between 1 / (1 + scale) and 1 + scale")
    contrast: Share = Field(0.1, description="augmentation: largest change of contrast, as a share")
    threads: int = Field(1, ge=1, description="compute threads of the recipe; weights are bit-equal at this number")
    weights: Literal["none", "pretrained"] = Field(
        "none", description="start from random weights, or from timm's pretrained ones"
    )
