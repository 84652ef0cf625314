"""All 4,096 inputs of twelve bits with a symmetric binary rule: the data in which information in layers was first followed.

The labels are those of ``var_u.mat`` of Shwartz-Ziv and Tishby, "Opening the Black Box of Deep Neural Networks via Information"
(2017; github.com/ravidziv/IDNNs, MIT License, Copyright (c) 2017 ravidziv), which adaptive estimators are published with, too.
"""

import numpy as np
import torch
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset

BITS = 12
# Rows of the training split, as published, four fifths; the others are halved.
TRAINING = 3277
# A bit for each input, in the order of binary counting, first bit first.
LABELS = (
    "0000000000000003000000030001173f000000010001051f0000011705175f7f0000000300000017000001330013177f000000030007073f"
    "0000013f15177f7f000000030000010f000000170007177f0001000f050f0f7f0007073f175f7fff0003003f0007033f0013033f003f3fff"
    "001f073f077f0fff003f073f5f7f7fff0000000000000007000000130101177f000000070505175f00001517555f7f7f000000130000003f"
    "001311331113777f0017003f155f5f7f1517153f555f7f7f000000070007050f0000003f05075f7f051f077f5f5f5fff155f5f7f5f5fffff"
    "013f037f057f0fff117f33ff557f7fff5fff7fff7fffffff7fff7fffffffffff0000000100000117000111371117777f000000030105171f"
    "0111173757577fff000100330013133f1133337f17777fff001300331517173f1133777f77777fff000000030000013f0013133f15177f7f"
    "0007000f050f5f7f1517173f5f5f7fff0037133f003f133f137f33ff777f7fff177f17ff5f7f5fff777f77ff7f7f7fff0000001300001517"
    "1111177755777f7f0115151755555f5f555577777f7fffff1137137f1577777f777777ff7777ffff577f777f7f7f7f7f77ff77ffffffffff"
    "0017003f1517153f1577777f55777f7f577f5f7f5fff5fff7f7f7f7fffffffff77ff7fff7fff7fff7fffffffffffffffffffffffffffffff"
    "ffffffffffffffff"
)


def all_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs ``[4096, 12]``, zeros and ones, and labels ``[4096]``, int64, in the order of binary counting."""
    numbers = np.arange(2**BITS)
    x = numbers[:, None] >> np.arange(BITS)[::-1] & 1
    y = np.unpackbits(np.frombuffer(bytes.fromhex(LABELS), dtype=np.uint8))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)


@dataset("binary_inputs", help="all 4,096 inputs of 12 bits, 2 classes by a symmetric rule: 3277 / 410 / 409 rows")
def binary_inputs(split: int = 0) -> Data:
    """The rows in random order; the released code trains on the first four fifths, with 44 % ones against 84 % in the rest."""
    x, y = all_inputs()
    order = torch.from_numpy(np.random.default_rng(split).permutation(len(y)))
    train, validation, test = order.split([TRAINING, 410, len(y) - TRAINING - 410])
    return Data(
        name="binary_inputs",
        train=TensorDataset(x[train], y[train]),
        validation=TensorDataset(x[validation], y[validation]),
        test=TensorDataset(x[test], y[test]),
        meta={"classes": 2, "shape": (BITS,)},
        pool=len(y),
    )
