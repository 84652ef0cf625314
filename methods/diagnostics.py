"""Diagnostics: what a suite may ask to be measured of hidden representations. ``watch`` measures; this needs no PyTorch."""

from dataclasses import dataclass

from pydantic import Field, field_validator

from regbench.methods.errors import nearest
from regbench.methods.strict import Strict

PREFIX = "diagnostic/"
# The method's own hidden representation, among the layers.
REPRESENTATION = "representation"

# In a training, where a suite does not say: more would take more than a tenth of the time of those with the shortest rounds.
MEASUREMENTS = 10


@dataclass(frozen=True)
class Diagnostic:
    """A number about a representation.

    Attributes:
        help: what it is, one line.
        labelled: whether it needs labels; where a track has none, it is not reported.
    """

    help: str
    labelled: bool = False


DIAGNOSTICS: dict[str, Diagnostic] = {
    "dse": Diagnostic("diffusion spectral entropy"),
    "collision_entropy": Diagnostic("lower bound of dse by traces of powers, without eigenvalues"),
    "dsmi": Diagnostic("diffusion spectral mutual information with the labels", labelled=True),
    "dsmi_x": Diagnostic("diffusion spectral mutual information with ten clusters of the inputs"),
    "ebab_x": Diagnostic("information about the inputs by 30 adaptive bins"),
    "ebab_y": Diagnostic("information about the labels by 30 adaptive bins", labelled=True),
    "akde_x": Diagnostic("information about the inputs by adaptive kernel densities, from above"),
    "akde_y": Diagnostic("information about the labels by adaptive kernel densities", labelled=True),
}


class Diagnostics(Strict):
    """What is measured of hidden representations, when, and on how many rows."""

    names: list[str] = Field(min_length=1, description=f"one or more of {', '.join(DIAGNOSTICS)}")
    every: int | None = Field(
        None,
        ge=1,
        description="rounds between two measurements, by default a tenth of all; first and last round are always measured",
    )
    rows: int = Field(128, ge=2, description="rows of the validation split, at most; the same in every run")
    layers: list[str] = Field(
        [REPRESENTATION],
        min_length=1,
        description="representation (what the method says is its hidden representation), or patterns of module paths: model.*",
    )

    def period(self, rounds: int) -> int:
        """Rounds between two measurements of a training of so many."""
        return self.every or max(1, rounds // MEASUREMENTS)

    @field_validator("names")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in DIAGNOSTICS:
                raise ValueError(f"unknown diagnostic '{name}'; {nearest(name, DIAGNOSTICS)}")
            if names.count(name) > 1:
                raise ValueError(f"diagnostic '{name}' is there twice")
        return names
