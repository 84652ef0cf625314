"""Generated regression problems: their correlation, noise and truth; and the table of ABIDE."""

import numpy as np
import pytest
import torch

from regbench.methods.errors import DataError
from regbench.methods.shared.data import load, sources
from regbench.methods.shared.data.abide_cortical import (
    FILE,
    abide_cortical,
    abide_cortical_binary,
    abide_cortical_squares,
    abide_cortical_squares_binary,
)
from regbench.methods.shared.data.sparse_problems import Problems, block_design, clustered_design, toeplitz_rows

EMBEDDED = [
    ("sparse_toeplitz", 200, 500, 10),
    ("sparse_toeplitz_09", 200, 500, 10),
    ("sparse_binary", 300, 300, 10),
    ("squared_covariates", 400, 200, 10),
    ("clustered", 300, 30, 4),
    ("clustered_outliers", 300, 30, 4),
    ("clustered_slopes", 300, 30, 4),
    ("clustered_slopes_outliers", 300, 30, 4),
    ("toeplitz_blocks", 1000, 2050, 50),
    ("toeplitz_blocks_01", 1000, 2050, 50),
    ("toeplitz_blocks_09", 1000, 2050, 50),
    ("toeplitz_blocks_binary", 1000, 2050, 50),
]


@pytest.mark.parametrize(("name", "rows", "covariates", "relevant"), EMBEDDED)
def test_problems_are_as_large_as_said_and_the_same_each_time(name, rows, covariates, relevant):
    data = load(name)
    assert sources()[name].folder is None
    assert [len(split) for split in (data.train, data.validation, data.test)] == [20, 200, 200]
    assert isinstance(data.test, Problems)
    one, again, other = data.test.draw(0), data.test.draw(0), data.test.draw(1)
    assert one.x.shape == (rows, covariates) == (len(one.y), *data.meta["shape"])
    assert one.x.dtype == one.y.dtype == torch.float64
    assert int(one.relevant.sum()) == relevant
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.y, again.y)
    assert not torch.equal(one.y, other.y)
    assert not torch.equal(one.x, data.validation.draw(0).x)


def test_no_problem_is_in_two_pools():
    data = load("sparse_toeplitz")
    seeds = torch.cat([split.tensors[0] for split in (data.train, data.validation, data.test)])
    assert len(seeds.unique()) == len(seeds)


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_correlation_falls_with_distance(tau):
    x = toeplitz_rows(20000, 6, tau, np.random.default_rng(0))
    expected = tau ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    np.testing.assert_allclose(np.cov(x.T), expected, atol=0.04)


def test_noise_has_a_third_of_the_signals_variance():
    ratios = []
    for index in range(10):
        problem = load("sparse_toeplitz").test.draw(index)
        x, y = torch.cat([problem.x, problem.held_x]), torch.cat([problem.y, problem.held_y])
        signal = x @ problem.coefficients
        ratios.append((signal.var() / (y - signal).var()).item())
    assert np.mean(ratios) == pytest.approx(3, rel=0.05)


def test_squares_have_no_linear_effect():
    problem = load("squared_covariates").test.draw(0)
    assert not problem.coefficients.any()
    signal = problem.x[:, problem.relevant].square().sum(1)
    assert torch.corrcoef(torch.stack([signal, problem.y]))[0, 1] == pytest.approx(0.75**0.5, abs=0.06)


def test_binary_outcomes_follow_their_probabilities():
    errors = []
    for index in range(20):
        problem = load("sparse_binary").test.draw(index)
        assert set(problem.y.unique().tolist()) == {0, 1}
        errors.append((problem.y - (problem.x @ problem.coefficients).sigmoid()).mean().item())
    assert np.mean(errors) == pytest.approx(0, abs=0.05)


def test_blocks_grow():
    beta = block_design(5, 5, 0.5, 3.0, "continuous")(np.random.default_rng(0)).coefficients.numpy()
    starts = np.arange(5) * 510
    means = [beta[start : start + 10].mean() for start in starts]
    assert means == pytest.approx([0.5, 5, 10, 20, 50], abs=6)
    assert np.flatnonzero(beta).tolist() == [start + place for start in starts for place in range(10)]


def test_a_tenth_of_the_training_clusters_is_contaminated_and_no_unseen_one():
    problem = clustered_design(0.1)(np.random.default_rng(0))
    assert problem.clusters.bincount().tolist() == [5] * 60
    residuals = (problem.y - problem.x @ problem.coefficients).view(60, 5)
    wild = residuals.std(1) > 3
    assert 4 <= int(wild.sum()) <= 6
    held = (problem.held_y - problem.held_x @ problem.coefficients).view(60, 5)
    assert held.std(1).max() < 3
    assert held.mean(1).var().item() == pytest.approx(0.8 + 0.5 / 5, rel=0.5)


def test_slopes_of_the_first_two_covariates_vary_from_cluster_to_cluster():
    """Products of residuals within a cluster are random effects of variance 0.8: of 1 + x₁ x₁' + x₂ x₂', by least squares."""
    design = clustered_design(0.0, slopes=2)
    products, regressors = [], []
    for seed in range(20):
        problem = design(np.random.default_rng(seed))
        r = (problem.y - problem.x @ problem.coefficients).view(60, 5).numpy()
        x = problem.x.view(60, 5, 30).numpy()
        pairs = [(a, b) for a in range(5) for b in range(a)]
        products += [r[:, a] * r[:, b] for a, b in pairs]
        regressors += [np.column_stack([np.ones(60), x[:, a, :3] * x[:, b, :3]]) for a, b in pairs]
    found = np.linalg.lstsq(np.concatenate(regressors), np.concatenate(products), rcond=None)[0]
    np.testing.assert_allclose(found, [0.8, 0.8, 0.8, 0], atol=0.15)


# ABIDE


def write(folder, rows=50, vertices=45, header_only=False):
    (folder / "abide").mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    names = ["", "SubjectID", *(f"lh_{v}" for v in range(vertices)), "AGE_AT_SCAN", "SEX", "DX_GROUP"]
    lines = [",".join(names)]
    for row in range(0 if header_only else rows):
        values = random.normal(2.5, 0.3, vertices)
        values[0] = 0.0
        lines.append(",".join([str(row), f"s{row}", *map(str, values), "12.5", "1", "2"]))
    (folder / "abide" / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REGBENCH_DATA", str(tmp_path))
    return tmp_path


def test_abide_is_standardized_vertices_with_simulated_outcomes(folder):
    write(folder)
    data = abide_cortical()
    problem = data.test.draw(0)
    assert problem.x.shape == (40, 44)
    assert problem.held_x.shape == (10, 44)
    assert data.meta["shape"] == (44,)
    both = torch.cat([problem.x, problem.held_x])
    torch.testing.assert_close(both.mean(0), torch.zeros(44).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(both.std(0, correction=0), torch.ones(44).double())
    assert int(problem.relevant.sum()) == 40
    assert torch.equal(problem.coefficients != 0, problem.relevant)
    squares = abide_cortical_squares().test.draw(0)
    assert int(squares.relevant.sum()) == 40
    assert not squares.coefficients.any()
    again = abide_cortical(split=1).test.draw(0)
    assert not torch.equal(again.x, problem.x)
    torch.testing.assert_close(torch.cat([again.x, again.held_x]).sort(0).values, both.sort(0).values)


@pytest.mark.parametrize(("load_binary", "squares"), [(abide_cortical_binary, False), (abide_cortical_squares_binary, True)])
def test_abides_binary_outcomes_follow_the_vertices_or_their_squares(folder, load_binary, squares):
    """At SNR 3 between signal and latent logistic noise, both classes come up, and a larger signal means more ones."""
    write(folder, rows=2000)
    problem = load_binary().test.draw(0)
    assert problem.outcome == "binary"
    assert set(problem.y.unique().tolist()) == {0, 1}
    assert bool(problem.coefficients.any()) != squares
    signal = problem.x[:, problem.relevant]
    signal = (signal.square() if squares else signal).sum(1)
    scaled = (signal - signal.mean()) / signal.std() * (3 * np.pi**2 / 3) ** 0.5
    assert (problem.y - scaled.sigmoid()).mean().item() == pytest.approx(0, abs=0.04)
    assert torch.corrcoef(torch.stack([problem.y, signal]))[0, 1] > 0.6


@pytest.mark.parametrize(("name", "tau"), [("toeplitz_blocks_01", 0.1), ("toeplitz_blocks", 0.5), ("toeplitz_blocks_09", 0.9)])
def test_neighbours_of_the_block_designs_are_correlated_as_named(name, tau):
    x = load(name).test.draw(0).x
    assert (x[:, 1:] * x[:, :-1]).mean().item() == pytest.approx(tau, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"vertices": 30}, "40 are needed"), ({"header_only": True}, "holds no subjects|no table")],
)
def test_a_table_that_is_too_small_is_refused(folder, settings, message):
    write(folder, **settings)
    with pytest.raises(DataError, match=message):
        abide_cortical()


@pytest.mark.parametrize("damage", ["lh", ""])
def test_a_damaged_table_is_refused_in_one_line(folder, damage):
    write(folder)
    path = folder / "abide" / FILE
    lines = path.read_text().splitlines()
    fields = lines[3].split(",")
    fields[5] = damage
    lines[3] = ",".join(fields)
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as caught:
        abide_cortical()
    assert "\n" not in str(caught.value)


def test_a_missing_table_says_where_to_put_it(folder):
    with pytest.raises(DataError, match=r"put abide_fs60.*into .*abide"):
        abide_cortical()
