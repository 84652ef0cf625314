"""Data sets with something to protect: splits are disjoint, the attacker's rows are nobody's, files are read as published."""

import numpy as np
import pytest
import torch
from skimage.io import imsave
from sklearn.datasets import load_breast_cancer, load_diabetes

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.celeba import celeba_data, read_faces, read_identities

SPLITS = ("train", "validation", "test", "auxiliary")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("private_digits", (700, 200, 297, 600)),
        ("private_diabetes", (200, 70, 72, 100)),
        ("private_breast_cancer", (220, 80, 119, 150)),
    ],
)
def test_splits_are_disjoint_and_cover_the_set(name, sizes):
    data = load(name)
    splits = [getattr(data, split) for split in SPLITS]
    assert tuple(map(len, splits)) == sizes
    rows = {x.numpy().tobytes() for split in splits for x in split.tensors[0]}
    assert len(rows) == sum(sizes)
    assert data.train.tensors[0].shape[1:] == data.meta["shape"]


def test_sex_is_the_column_to_protect_and_the_target_is_standardized():
    data = load("private_diabetes")
    x = torch.cat([getattr(data, split).tensors[0] for split in SPLITS])
    y = torch.cat([getattr(data, split).tensors[1] for split in SPLITS])
    assert load_diabetes()["feature_names"][data.meta["sensitive"]] == "sex"
    assert len(x[:, data.meta["sensitive"]].unique()) == 2
    assert sorted([*data.meta["known"], data.meta["sensitive"]]) == list(range(10))
    assert y.mean().item() == pytest.approx(0, abs=1e-9)
    assert y.std(correction=0).item() == pytest.approx(1)


def test_the_protected_radius_is_halved_at_its_median():
    data = load("private_breast_cancer")
    names = load_breast_cancer()["feature_names"]
    radius = torch.cat([getattr(data, split).tensors[0] for split in SPLITS])[:, data.meta["sensitive"]]
    assert names[data.meta["sensitive"]] == "mean radius"
    assert [names[column] for column in data.meta["known"]] == [
        "mean texture",
        "mean smoothness",
        "mean symmetry",
        "mean fractal dimension",
    ]
    assert radius.unique().tolist() == [0, 1]
    assert radius.mean().item() == pytest.approx(0.5, abs=0.01)


# CelebA


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """A copy in the public format: four people with 12, 10, 10 and 8 images, each image of one colour."""
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    owners = [7] * 8 + [3] * 10 + [5] * 12 + [9] * 10
    lines = []
    for number, owner in enumerate(owners, start=1):
        name = f"{number:06d}.jpg"
        image = np.zeros((218, 178, 3), np.uint8)
        image[54:164, 34:144] = (5 * number, 20 * owner, 100)
        imsave(folder / "img_align_celeba" / name, image, check_contrast=False)
        lines.append(f"{name} {owner}")
    (folder / "identity_CelebA.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_celebrities_of_most_images_are_the_classes_and_the_next_ones_the_attackers(faces):
    data = celeba_data(2, 15)
    assert data.meta == {"classes": 2, "shape": (3, 64, 64)}
    assert [len(getattr(data, split)) for split in SPLITS] == [16, 3, 3, 15]
    found = {}
    for split in SPLITS:
        x, y = getattr(data, split).tensors
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        owner = (x[:, 1].mean((1, 2)) * 255 / 20).round().int().tolist()
        for person, label in zip(owner, y.tolist(), strict=True):
            found.setdefault(person, set()).add(label)
    # 5 has most images, then 3 before 9, then 7.
    assert found == {5: {0}, 3: {1}, 9: {2}, 7: {2}}
    assert (data.auxiliary.tensors[1] == 2).all()


def test_another_split_divides_the_protected_faces_anew_and_leaves_the_attacker_as_it_was(faces):
    first, second = celeba_data(2, 15), celeba_data(2, 15, split=1)
    assert all(map(torch.equal, first.auxiliary.tensors, second.auxiliary.tensors))
    assert first.pool == second.pool == 22
    both = [[x.numpy().tobytes() for split in SPLITS[:3] for x in getattr(data, split).tensors[0]] for data in (first, second)]
    assert sorted(both[0]) == sorted(both[1])
    assert both[0] != both[1]


def test_a_face_is_the_middle_of_an_image(faces):
    (face,) = read_faces(["000010.jpg"])
    # The border around the middle is black and must not be in it.
    torch.testing.assert_close(face.mean((1, 2)), torch.tensor([50.0, 60, 100]) / 255, atol=0.02, rtol=0)
    assert face.std((1, 2)).max() < 0.01


@pytest.mark.parametrize("line", ["000001.png 3", "000001.jpg", "000001.jpg x"])
def test_damaged_identities_are_refused(tmp_path, line):
    path = tmp_path / "identity_CelebA.txt"
    path.write_text(f"000002.jpg 4\n{line}\n")
    with pytest.raises(DataError, match="line 2 is"):
        read_identities(path)


def test_damaged_and_missing_images_are_named(faces):
    path = faces / "img_align_celeba" / "000003.jpg"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"000003\.jpg is damaged"):
        read_faces(["000003.jpg"])
    imsave(path, np.zeros((218, 178), np.uint8), check_contrast=False)
    with pytest.raises(DataError, match="not a colour image"):
        read_faces(["000003.jpg"])
    path.unlink()
    with pytest.raises(DataError, match=r"put 000003\.jpg into"):
        celeba_data(2, 15)
