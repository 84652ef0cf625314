"""Handwritten digits enlarged to 16 x 16 pixels, so that neighbouring pixels say nearly the same."""

from torch.nn.functional import interpolate
from torch.utils.data import TensorDataset

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.digits import digits_data


@dataset("digits_16", help="scikit-learn's digits enlarged bilinearly to 16x16, 10 classes: 900 / 300 / 597 images")
def digits_16(split: int = 0) -> Data:
    """Images ``[N, 1, 16, 16]`` in [0, 1], in the splits of ``digits``: the setting of dual smoothing's small benchmark."""
    plain = digits_data("digits", label_noise=0.0, split=split)
    splits = {
        name: TensorDataset(interpolate(x, scale_factor=2, mode="bilinear"), y)
        for name, (x, y) in ((name, getattr(plain, name).tensors) for name in ("train", "validation", "test"))
    }
    return Data(name="digits_16", meta=dict(plain.meta) | {"shape": (1, 16, 16)}, pool=plain.pool, **splits)
