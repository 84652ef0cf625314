"""Bags: their layout, their padding, and the sets of digits, molecules and slides."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import chisquare

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load
from regbench.methods.shared.data.bags import Bags, pad
from regbench.methods.shared.data.camelyon import camelyon16, read_features
from regbench.methods.shared.data.musk import FEATURES, musk1, musk2, musk_data, read_musk, read_table

MUSK = Path(os.environ.get("REGBENCH_DATA", "")) / "musk"
STARTS, COUNTS = torch.tensor([0, 3, 4]), torch.tensor([3, 1, 6])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


def bag(split, number):
    """Features and witnesses of one bag."""
    start, count, _ = split[number]
    return split.instances[start : start + count]


# Layout


def test_bags_begin_where_the_one_before_ends():
    bags = Bags(torch.arange(10.0)[:, None], COUNTS, torch.tensor([0, 1, 0]))
    assert bags.tensors[0].tolist() == STARTS.tolist()
    assert [bag(bags, number)[0].flatten().tolist() for number in range(3)] == [[0, 1, 2], [3], [4, 5, 6, 7, 8, 9]]


@pytest.mark.parametrize("counts", [[3, 1, 5], [4, 0, 6]])
def test_bags_that_do_not_fit_their_instances_are_refused(counts):
    with pytest.raises(ValueError, match="cannot fill bags"):
        Bags(torch.zeros(10, 1), torch.tensor(counts), torch.zeros(3))


def test_padding_has_every_instance_in_its_order():
    places, present = pad(STARTS, COUNTS)
    assert present.tolist() == [[n < count for n in range(6)] for count in (3, 1, 6)]
    assert [row[here].tolist() for row, here in zip(places, present, strict=True)] == [[0, 1, 2], [3], [4, 5, 6, 7, 8, 9]]
    assert places.max() < 10


@pytest.mark.parametrize(("share", "kept"), [(0.5, [1, 1, 3]), (0.99, [2, 1, 5]), (0.01, [1, 1, 1])])
def test_subsampling_takes_distinct_instances_of_each_bag(share, kept):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        places, present = pad(STARTS, COUNTS, share=share, generator=generator)
        assert present.sum(1).tolist() == kept
        for row, here, start, count in zip(places, present, STARTS, COUNTS, strict=True):
            assert len(set(row[here].tolist())) == here.sum()
            assert ((row >= start) & (row < start + count)).all()


def test_subsampling_draws_each_instance_alike():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([pad(STARTS, COUNTS, share=0.5, generator=generator)[0][2] for _ in range(1000)])
    assert chisquare(drawn.bincount()[4:]).pvalue > 1e-3


def test_the_number_kept_is_the_whole_part():
    """0.29 of 100 is 28.999… in double precision, and 29 in single."""
    _, present = pad(torch.tensor([0]), torch.tensor([100]), share=0.29, generator=torch.Generator())
    assert present.sum() == int(0.29 * 100) == 28


# Digits


@pytest.mark.parametrize(("name", "witnesses", "noise"), [("digit_bags", 6, 0.3), ("digit_bags_rare", 3, 0.2)])
def test_digit_bags_hold_the_right_number_of_nines(name, witnesses, noise):
    data = load(name)
    for split, size in (("train", 100), ("validation", 100), ("test", 300)):
        bags = getattr(data, split)
        _, counts, labels = bags.tensors
        x, nines = bags.instances.tensors
        assert (len(bags), x.shape, x.dtype) == (size, (60 * size, 64), torch.float32)
        assert set(counts.tolist()) == {60}
        assert labels.sum() == size // 2
        assert nines.view(size, 60).sum(1).tolist() == (witnesses * labels).tolist()
        # Nearest clean digit: noise of this size leaves most images closest to themselves.
        clean, digit = (t.cpu() for t in getattr(load("digits"), split).tensors)
        distances = torch.cdist(x[:600], clean.flatten(1))
        assert distances.min(1).values.square().mean().item() / 64 == pytest.approx(noise**2, rel=0.05)
        nearest = distances.argmin(1)
        assert ((digit[nearest] == 9) == nines[:600]).double().mean() > 0.97


def test_witnesses_stand_anywhere_in_a_bag():
    bags = load("digit_bags").test
    places = bags.instances.tensors[1].view(-1, 60).nonzero()[:, 1]
    assert chisquare(places.bincount(minlength=60)).pvalue > 1e-3


# Molecules


def write_musk(path, x, names, labels):
    """A C4.5 file as UCI publishes it."""
    rows = enumerate(zip(names, x, labels, strict=True))
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "".join(f"{name},{name}_{n},{','.join(str(int(v)) for v in row)},{label}.\n" for n, (name, row, label) in rows)
    )
    return path


def write_table(path, x, names, labels):
    """A table with a column ``bag`` of numbers from 1, in the order of first occurrence."""
    path.parent.mkdir(exist_ok=True)
    places = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}
    columns = {"bag": np.array([places[name] for name in names], dtype=np.int16)}
    columns |= {f"f{n}": x[:, n - 1].astype(np.int16) for n in range(1, FEATURES + 1)} | {"label": labels.astype(np.int8)}
    pq.write_table(pa.table(columns), path)
    return path


def same_bags(one, other):
    """Two data sets have the same bags in each split, each with the same instances."""
    for split in ("train", "validation", "test"):
        bags, others = getattr(one, split), getattr(other, split)
        for left, right in zip(
            (*bags.tensors, *bags.instances.tensors), (*others.tensors, *others.instances.tensors), strict=True
        ):
            assert torch.equal(left, right)


@pytest.fixture
def molecules():
    """Twenty molecules of 1 to 5 conformations, their lines mixed: features, names and labels."""
    random = np.random.default_rng(0)
    bags = random.permutation(np.repeat(np.arange(20), 1 + np.arange(20) % 5))
    names = [f"{'MUSK' if bag < 10 else 'NON-MUSK'}-{bag:02d}" for bag in bags]
    return random.integers(-300, 300, size=(len(bags), 166)), names, (bags < 10).astype(int)


def test_musk_files_are_read_as_they_were_written(tmp_path, molecules):
    x, names, _ = molecules
    found, bags, classes = read_musk(write_musk(tmp_path / "clean1.data", *molecules))
    assert classes.tolist() == [1] * 10 + [0] * 10
    for number, name in enumerate(sorted(set(names))):
        np.testing.assert_array_equal(found[bags == number], x[np.array(names) == name])


def test_musk_tables_are_read_as_they_were_written(tmp_path, molecules):
    x, names, labels = molecules
    found, bags, classes = read_table(write_table(tmp_path / "musk1.parquet", *molecules))
    for number, name in enumerate(dict.fromkeys(names)):
        rows = np.array(names) == name
        np.testing.assert_array_equal(found[bags == number], x[rows])
        assert classes[number] == labels[rows][0]


@pytest.mark.parametrize(("version", "file"), [(musk1, "clean1.data"), (musk2, "clean2.data")])
def test_both_forms_of_musk_are_split_alike(folder, molecules, version, file):
    x, names, labels = molecules
    table = write_table(folder / "musk" / f"{version.__name__}.parquet", *molecules)
    data = version()
    table.unlink()
    order = np.random.default_rng(1).permutation(len(x))
    write_musk(folder / "musk" / file, x[order], [names[n] for n in order], labels[order])
    same_bags(version(), data)


def test_missing_musk_files_are_named(folder):
    with pytest.raises(DataError, match=r"put clean2.data or musk2.parquet into .*musk"):
        musk2()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda table: table.drop_columns(["f166"]), "no table bag,f1,…,f166,label"),
        (lambda table: table.set_column(3, "f3", table.column("f3").cast(pa.float64())), "no table bag,f1,…,f166,label"),
        (lambda table: table.set_column(0, "bag", pa.array([1] * len(table))), "the same in each of its lines"),
        (lambda table: table.slice(0, 0), "classes must be 0 and 1"),
    ],
)
def test_damaged_musk_tables_are_refused(tmp_path, molecules, damage, message):
    path = write_table(tmp_path / "musk1.parquet", *molecules)
    pq.write_table(damage(pq.read_table(path)), path)
    with pytest.raises(DataError, match=message):
        read_table(path)
    path.write_bytes(b"not a table")
    with pytest.raises(DataError, match="no table bag,f1,…,f166,label"):
        read_table(path)


def test_musk_splits_share_no_molecule_and_are_standardized_by_the_training_one(tmp_path, molecules):
    x, names, _ = molecules
    x[:, 7] = 5  # a feature without variance
    data = musk_data("musk", write_musk(tmp_path / "clean1.data", x, names, molecules[2]))
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "validation": 4, "test": 6}
    assert {name: split.tensors[2].double().mean().item() for name, split in splits.items()} == dict.fromkeys(splits, 0.5)
    learned = data.train.instances.tensors[0].double()
    assert learned.mean(0).abs().max() < 1e-5
    assert learned.std(0, unbiased=False).sum().item() == pytest.approx(165, abs=1e-3)
    # Undo the scaling by least squares on one feature: every row of the file is in just one split.
    rows = torch.cat([split.instances.tensors[0] for split in splits.values()])
    assert len(torch.unique(rows, dim=0)) == len(x)
    assert sum(split.tensors[1].sum() for split in splits.values()) == len(x)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace(",", ";"), "no file of the UCI Musk data"),
        (lambda text: text.replace(".\n", "?\n", 1), "no file of the UCI Musk data"),
        (lambda text: "\n".join(",".join([*line.split(",")[:-2], "1."]) for line in text.splitlines()), "166 features"),
        (lambda text: text.replace(",1.\n", ",0.\n", 1), "the same in each of its lines"),
        (lambda text: text.replace(",1.\n", ",2.\n"), "classes must be 0 and 1"),
        (lambda text: "", "no file of the UCI Musk data"),
    ],
)
def test_damaged_musk_files_are_refused(tmp_path, molecules, damage, message):
    x, names, labels = molecules
    several = [name for name in names if names.count(name) > 1 and name.startswith("MUSK")]
    order = sorted(range(len(names)), key=lambda n: names[n] != several[0])
    path = write_musk(tmp_path / "clean1.data", x[order], [names[n] for n in order], labels[order])
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=message):
        read_musk(path)


@pytest.mark.parametrize(
    ("version", "file", "bags", "positive", "instances", "largest"),
    [(musk1, "clean1.data", 92, 47, 476, 40), (musk2, "clean2.data", 102, 39, 6598, 1044)],
)
@pytest.mark.skipif(not MUSK.is_dir(), reason="REGBENCH_DATA has no musk")
def test_musk_itself(folder, monkeypatch, version, file, bags, positive, instances, largest):
    """The real sets, from the table and from a copy of it written in UCI's format; figures of their description."""
    table = pq.read_table(MUSK / f"{version.__name__}.parquet").to_pandas()
    features = table[[f"f{n}" for n in range(1, 167)]].to_numpy()
    write_musk(folder / "musk" / file, features, [f"M{number}" for number in table["bag"]], table["label"])
    copy = version()
    monkeypatch.setenv("REGBENCH_DATA", str(MUSK.parent))
    data = version()
    same_bags(copy, data)
    assert data.meta["shape"] == (166,)
    splits = (data.train, data.validation, data.test)
    assert sum(map(len, splits)) == bags
    assert sum(split.tensors[2].sum() for split in splits) == positive
    assert sum(len(split.instances) for split in splits) == instances
    assert max(split.tensors[1].max() for split in splits) == largest


# Slides


def write_slides(folder, slides, width=5):
    """A table, and a file of features for each slide, as CLAM writes them: constant features, the slide's number."""
    (folder / "camelyon16" / "pt_files").mkdir(parents=True)
    lines = [f"patient_{n},{slide},{label}" for n, (slide, label) in enumerate(slides.items())]
    (folder / "camelyon16" / "camelyon16.csv").write_text("\n".join(["case_id,slide_id,label", *lines]) + "\n")
    for n, slide in enumerate(slides):
        torch.save(torch.full((2 + n % 7, width), float(n)), folder / "camelyon16" / "pt_files" / f"{slide}.pt")


SLIDES = {f"normal_{n:03d}": 0 for n in range(12)} | {f"tumor_{n:03d}": 1 for n in range(8)}
SLIDES |= {f"test_{n:03d}": n % 2 for n in range(6)}


def test_slides_are_read_as_they_were_written(folder):
    write_slides(folder, SLIDES)
    data = camelyon16()
    number = {name: n for n, name in enumerate(SLIDES)}
    found = {}
    for split in ("train", "validation", "test"):
        bags = getattr(data, split)
        for row in range(len(bags)):
            (x,) = bag(bags, row)
            slide = list(SLIDES)[int(x[0, 0])]
            assert (x == number[slide]).all()
            assert x.shape == (2 + number[slide] % 7, 5)
            assert bags[row][2] == SLIDES[slide]
            found[slide] = split
    assert found.keys() == SLIDES.keys()
    assert {slide for slide, split in found.items() if split == "test"} == {s for s in SLIDES if s.startswith("test")}
    assert sum(split == "validation" for split in found.values()) == 2
    assert data.meta == {"classes": 2, "shape": (5,)}


def test_missing_and_damaged_slides_are_refused(folder):
    write_slides(folder, SLIDES)
    files = folder / "camelyon16" / "pt_files"
    torch.save(torch.zeros(3, 6), files / "tumor_001.pt")
    with pytest.raises(DataError, match=r"several encoders: their lengths are \[5, 6\]"):
        camelyon16()
    for content in ({"features": torch.zeros(3, 5)}, torch.zeros(5), torch.zeros(0, 5)):
        torch.save(content, files / "tumor_001.pt")
        with pytest.raises(DataError, match="does not hold one tensor"):
            read_features(files / "tumor_001.pt")
    (files / "tumor_001.pt").write_bytes(b"not a tensor")
    with pytest.raises(DataError, match=r"tumor_001.pt is damaged"):
        read_features(files / "tumor_001.pt")
    (files / "tumor_001.pt").unlink()
    with pytest.raises(DataError, match=r"put tumor_001.pt into"):
        camelyon16()


@pytest.mark.parametrize(
    "text", ["slide,label\na,1\n", "case_id,slide_id,label\na,a,tumor\n", "case_id,slide_id,label\na,a,3\n", ""]
)
def test_a_table_of_another_form_is_refused(folder, text):
    (folder / "camelyon16").mkdir()
    (folder / "camelyon16" / "camelyon16.csv").write_text(text)
    with pytest.raises(DataError, match="is no table of case_id,slide_id,label"):
        camelyon16()
