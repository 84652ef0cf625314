"""Quadratic bilevel problems: a row is the seed of one, drawn when it is needed, always the same."""

import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

POOL = 1000


@dataset("quadratic_problems", help=f"seeds of {POOL} random quadratic bilevel problems of 10 parameters; a run draws one")
def quadratic_problems() -> Data:
    """Seeds ``[1000]``, the same pool in each split: a problem is solved, not generalized from."""
    pool = TensorDataset(torch.arange(POOL))
    return Data("quadratic_problems", train=pool, validation=pool, test=pool, meta={})
