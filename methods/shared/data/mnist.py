"""MNIST (LeCun et al., 1998) in 12 x 12 pixels, from its original gzip-compressed IDX files."""

import numpy as np
from skimage.transform import resize

from regbench.methods.shared.data import Data, dataset
from regbench.methods.shared.data.fashion_mnist import CLASSES, read_mnist_files
from regbench.methods.shared.data.public_images import image_data

FOLDER = "mnist"
VALIDATION = 5_000
SIDE = 12


@dataset("mnist_12", help="handwritten digits, 12x12 grey: 55,000 / 5,000 / 10,000 images, from IDX files", folder=FOLDER)
def mnist_12() -> Data:
    """Images ``[N, 1, 12, 12]`` in [0, 1], the size of MAID's experiment; the test split is the original one."""
    images, labels, test_images, test_labels = read_mnist_files(FOLDER)
    train, test = (shrunken(images), labels), (shrunken(test_images), test_labels)
    return image_data("mnist_12", train, test, validation=VALIDATION, classes=CLASSES)


def shrunken(images: np.ndarray) -> np.ndarray:
    """Grey images ``[N, H, W]`` as ``[N, 1, 12, 12]``, bytes, resized with anti-aliasing."""
    small = resize(images, (len(images), SIDE, SIDE), anti_aliasing=True, preserve_range=True)
    return small.round().astype(np.uint8)[:, None]
