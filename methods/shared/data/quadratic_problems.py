"""Quadratic bilevel problems: a row is the seed of one, drawn when it is needed, always the same."""

import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

POOL = 1000


@dataset("quadratic_problems", help=f"seeds of {POOL} random quadratic bilevel problems of 10 parameters; a run draws one")
def quadratic_problems(split: int = 0) -> Data:
    """Seeds ``[1000]``, the same to train, validate and test: a problem is solved, not generalized from."""
    pool = TensorDataset(torch.arange(split * POOL, (split + 1) * POOL))
    return Data("quadratic_problems", train=pool, validation=pool, test=pool, meta={})
