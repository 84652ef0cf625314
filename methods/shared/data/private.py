"""Data sets with people to protect and an attacker who has data of the same kind."""

from dataclasses import dataclass, field

from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data


@dataclass(frozen=True, eq=False)
class PrivateData(Data):
    """A data set whose training rows are private.

    Attributes:
        auxiliary: rows that the attacker has, disjoint from all others. No method learns from them.
    """

    auxiliary: TensorDataset = field(kw_only=True)
