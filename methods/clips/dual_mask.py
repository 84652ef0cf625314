"""Training under two masks, in no particular order: a competitor of the clips track."""

from typing import ClassVar, Self

from pydantic import model_validator

from regbench.methods.clips.masks import FRAMES, Catalogue, catalogue
from regbench.methods.clips.task import ClipMethod
from regbench.methods.method import Paper, hyperparameter


class DualMask(ClipMethod):
    """Cuts clips to k frames and asks of each to interpolate, to predict or to generate, all alike from first to last step.

    The condition mask says which frames are given, the loss mask which count: so that short clips are used and each clip
    serves many tasks. RDTF without its curriculum.
    """

    paper: ClassVar[Paper | None] = Paper(
        "RDTF: Resource-efficient Dual-mask Training Framework for Multi-frame Animated Sticker Generation",
        "Yuan, Zhang, Deng, Zhang, Zhu, Jia, Zhou, Zhang",
        2025,
        "preprint",
        "2503.17735",
    )
    off_equals: ClassVar[str | None] = None  # learns other tasks from more clips

    min_frames: int = hyperparameter(3, ge=2, le=FRAMES, help="least k that clips are cut to")
    max_frames: int = hyperparameter(8, ge=2, le=FRAMES, help="largest k; a clip of fewer frames keeps all of its own")
    interpolation_share: float = hyperparameter(1.0, ge=0, help="how often interpolation is asked, against the others")
    prediction_share: float = hyperparameter(1.0, ge=0, help="how often prediction is asked, against the others")
    generation_share: float = hyperparameter(1.0, gt=0, help="how often generation is asked, against the others")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} exceeds max_frames {self.max_frames}: set it to at most that")
        return self

    def build_catalogue(self) -> Catalogue:
        """All three tasks for all k."""
        shares = (self.interpolation_share, self.prediction_share, self.generation_share)
        return catalogue(self.min_frames, self.max_frames, shares)
