import gzip

import numpy as np
import pytest
import torch
from skimage.io import imsave

from regbench.methods.errors import DataError
from regbench.methods.shared.data import color_photographs, div2k, load
from regbench.methods.shared.data.color_photographs import COUNTS, padded
from regbench.methods.shared.data.measured_public import celeba_faces, mayo_data, noisy_mnist
from regbench.methods.shared.proximal.operators import CompressedSensing, Tomography


@pytest.mark.parametrize(
    ("name", "shape", "sigma"),
    [("blurred_digits", (1, 16, 16), 0.02), ("sensed_digits", (36,), 0.001), ("projected_digits", (1, 6, 19), 0.1)],
)
def test_measurements_are_those_of_their_operator_with_noise(name, shape, sigma):
    data = load(name)
    digits = load("digits").test.tensors[0][:200]
    b, clean = data.test.tensors
    assert b.shape == (200, *shape)
    torch.testing.assert_close(clean[:, :, 2:-2, 2:-2], digits)
    assert clean.sum().item() == pytest.approx(digits.sum().item())
    noise = b - data.meta["operator"].forward(clean)
    assert noise.std().item() == pytest.approx(sigma, rel=0.05)
    noisy, clean = data.train.tensors
    assert noisy.shape == clean.shape == (900, 1, 12, 12)
    assert (noisy - clean).std().item() == pytest.approx(0.1, rel=0.02)
    assert len(data.validation) == 100


def test_laplace_samples_and_their_operator():
    data = load("laplace_samples")
    x = data.train.tensors[0].double()
    assert x.abs().mean().item() == pytest.approx(1.0, rel=0.02)
    assert x.square().mean().item() == pytest.approx(2.0, rel=0.04)
    y, operator, points, value = data.test.tensors
    torch.testing.assert_close(operator, y.sign() * (y.abs() - 1).clamp(min=0))
    torch.testing.assert_close(value, points.abs())
    assert y.abs().max() <= 4
    assert points.abs().max() <= 2


def test_photographs_are_bytes_in_one_split_each():
    data = load("color_photographs")
    for part, count in zip(("train", "validation", "test"), COUNTS, strict=True):
        images, sizes = getattr(data, part).tensors
        assert images.shape == (count, 3, 192, 192)
        assert images.dtype == torch.uint8
        assert images.float().std() > 30
        assert (sizes == 192).all()


def test_images_are_padded_to_one_size():
    first, second = np.full((2, 5, 3), 7, np.uint8), np.full((4, 3, 3), 9, np.uint8)
    images, sizes = padded([first, second]).tensors
    assert images.shape == (2, 3, 4, 5)
    assert sizes.tolist() == [[2, 5], [4, 3]]
    assert images[0].sum() == 7 * 30
    assert (images[1, :, :, :3] == 9).all()


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


def save(path, shape, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8) if value is None else np.full(shape, value, np.uint8)
    imsave(path, image, check_contrast=False)
    return image


def test_div2k_is_read_from_its_folders(root, monkeypatch):
    monkeypatch.setattr(div2k, "TRAINING", range(1, 6))
    monkeypatch.setattr(div2k, "VALIDATION", range(801, 803))
    monkeypatch.setattr(color_photographs, "VALIDATION", 2)
    for number in (*range(1, 6), 801, 802):
        folder = "DIV2K_valid_HR" if number > 800 else "DIV2K_train_HR"
        save(root / f"DIV2K/{folder}/{number:04d}.png", (6, 4 + number % 100, 3), number % 100)
    tested = [save(root / f"image_restoration/set5/{name}_GT.png", (5, 7, 3)) for name in div2k.SET5]
    data = color_photographs.div2k_set5()
    assert data.train.tensors[0][:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.validation.tensors[0][:, 0, 0, 0].tolist() == [4, 5]
    assert data.train.tensors[1].tolist() == [[6, 5], [6, 6], [6, 7]]
    np.testing.assert_array_equal(data.test.tensors[0][4].permute(1, 2, 0), tested[4])
    assert color_photographs.div2k().test.tensors[0][:, 0, 0, 0].tolist() == [1, 2]
    save(root / "DIV2K/DIV2K_train_HR/0002.png", (6, 6))
    with pytest.raises(DataError, match=r"0002\.png holds an array of shape \(6, 6\)"):
        color_photographs.div2k_set5()
    (root / "DIV2K/DIV2K_train_HR/0002.png").unlink()
    with pytest.raises(DataError, match=r"put 0002\.png into"):
        color_photographs.div2k_set5()


def test_faces_are_the_middles_of_aligned_images_by_the_official_partition(root):
    names = [f"{number:06d}.jpg" for number in range(1, 7)]
    for number, name in enumerate(names, start=1):
        save(root / "celeba/img_align_celeba" / name, (218, 178, 3), 30 * number)
    partition = root / "celeba/list_eval_partition.txt"
    partition.write_text("".join(f"{name} {part}\n" for name, part in zip(names, "010112", strict=True)), encoding="utf-8")
    data = celeba_faces("tiny", 2, slice(0, 1), slice(1, 3))
    clean = [getattr(data, part).tensors[1] for part in ("train", "validation", "test")]
    assert [part.shape for part in clean] == [(2, 3, 128, 128), (1, 3, 128, 128), (2, 3, 128, 128)]
    found = torch.cat([part[:, 0, 64, 64] for part in clean]) * 255
    torch.testing.assert_close(found, torch.tensor([30.0, 90, 60, 120, 150]), atol=2, rtol=0)
    assert data.test.tensors[0].shape == (2, 3, 132, 132)
    partition.write_text("000001.jpg train\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1 is '000001\.jpg train'"):
        celeba_faces("tiny", 2, slice(0, 1), slice(1, 3))


def test_phantoms_are_read_by_name(root):
    folder = root / "mayoct/mayo_data_arranged_patientwise"
    for part, count in (("train", 3), ("test", 12)):
        (folder / part / "Phantom").mkdir(parents=True)
        for number in range(count):
            np.save(folder / part / f"Phantom/phantom_{number:02d}.npy", np.full((16, 16), number / 16))
    data = mayo_data("tiny", lambda shape: Tomography(shape, angles=3), 2.0)
    assert data.test.tensors[1][:, 0, 0, 0].tolist() == [10 / 16, 11 / 16]
    assert data.validation.tensors[0].shape == (10, 1, 3, data.meta["operator"].detectors)
    sensed = mayo_data("tiny", lambda shape: CompressedSensing(shape, measurements=16), 1e-3)
    assert sensed.test.tensors[0].shape == (2, 16)
    (folder / "test/Phantom/phantom_03.npy").write_bytes(b"none")
    with pytest.raises(DataError, match="damaged"):
        mayo_data("tiny", lambda shape: Tomography(shape, angles=3), 2.0)


def test_mnist_is_divided_as_released(root, monkeypatch):
    monkeypatch.setattr("regbench.methods.shared.data.fashion_mnist.SHAPES", ((6, 28, 28), (6,), (2, 28, 28), (2,)))
    monkeypatch.setattr("regbench.methods.shared.data.measured_public.MNIST_TRAINING", 3)
    monkeypatch.setattr("regbench.methods.shared.data.measured_public.MNIST_TEST", 2)
    (root / "mnist").mkdir()
    for name, shape in (("train", (6, 28, 28)), ("t10k", (2, 28, 28))):
        for kind, array in (("images-idx3", np.arange(shape[0], dtype=np.uint8)[:, None, None] + np.zeros(shape, np.uint8)),
                            ("labels-idx1", np.zeros(shape[0], np.uint8))):  # fmt: skip
            header = (0x0800 + array.ndim).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape)
            with gzip.open(root / f"mnist/{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + array.tobytes())
    data = noisy_mnist()
    clean = [getattr(data, part).tensors[1][:, 0, 0, 0] * 255 for part in ("train", "test", "validation")]
    assert [part.round().tolist() for part in clean] == [[0, 1, 2], [3, 4], [5]]
