"""Images as numbers."""

import torch
from torch import Tensor


def unit(images: Tensor) -> Tensor:
    """Images in [0, 1]: bytes are divided by 255, numbers are left."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
