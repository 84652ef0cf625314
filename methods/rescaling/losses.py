"""The losses of invertible rescaling: sums over an image, means over the batch (Xiao et al., 2020, section 3.3)."""

from torch import Tensor


def guidance(small: Tensor, reference: Tensor) -> Tensor:
    """L_LR = mean_b ‖y_b - y_b^ref‖², a scalar, of small images ``[B, 3, h, w]`` and the bicubic ones."""
    return (small - reference).square().flatten(1).sum(1).mean()


def latent_cross_entropy(latent: Tensor) -> Tensor:
    """L_CE = mean_b ‖z_b‖², a scalar: the cross-entropy of z ``[B, ...]`` to N(0, I), less constants and its factor ½.

    No likelihood: without a determinant it only shrinks z, which upscaling from fresh latents then asks to do without.
    """
    return latent.square().flatten(1).sum(1).mean()


def charbonnier(found: Tensor, target: Tensor, epsilon: float = 1e-6) -> Tensor:
    """L_HR = mean_b Σ √((x̂ - x)² + ε), a scalar, of images ``[B, ...]``."""
    return ((found - target).square() + epsilon).sqrt().flatten(1).sum(1).mean()
