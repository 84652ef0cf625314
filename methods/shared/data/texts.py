"""Texts as rows of bytes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def text_rows(texts: Sequence[str], length: int) -> Tensor:
    """Texts in UTF-8, filled up with zeros: uint8 ``[N, length]``, which none may exceed."""
    rows = np.zeros((len(texts), length), np.uint8)
    for row, text in zip(rows, texts, strict=True):
        values = text.encode()
        row[: len(values)] = np.frombuffer(values, np.uint8)
    return torch.from_numpy(rows)


def read_texts(rows: Tensor) -> list[str]:
    """The texts of rows ``[N, length]``."""
    return [bytes(row).rstrip(b"\0").decode() for row in rows.cpu().numpy()]
