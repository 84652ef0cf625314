import math

import numpy as np
import pytest
import torch
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mutual_info_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from regbench.methods.disentanglement.infomec import (
    active_latents,
    compactness,
    explicitness,
    infomec,
    modularity,
    normalized_information,
    plug_in_information,
)

GRID = torch.cartesian_prod(torch.arange(3), torch.arange(4))


def drawn(rows=400, sources=(3, 4), latents=3, seed=0):
    """Sources, and continuous latents that depend on them."""
    stream = torch.Generator().manual_seed(seed)
    s = torch.stack([torch.randint(count, (rows,), generator=stream) for count in sources], 1)
    z = s.double() @ torch.randn(len(sources), latents, generator=stream, dtype=torch.float64)
    return s, z + 0.5 * torch.randn(rows, latents, generator=stream, dtype=torch.float64)


# Known latents


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_copy_of_the_sources_is_perfect(order):
    found = infomec(GRID, GRID[:, order], discrete=True)
    assert (found.modularity, found.compactness) == pytest.approx((1, 1))
    assert found.explicitness > 0.999
    assert found.active.all()


def test_a_source_in_two_latents_is_modular_and_not_compact():
    split = torch.stack([GRID[:, 0], GRID[:, 1] // 2, GRID[:, 1] % 2, torch.zeros(12, dtype=torch.int64)], 1)
    found = infomec(GRID, split, discrete=True)
    assert found.information[:, :3].numpy() == pytest.approx(np.array([[1, 0, 0], [0, 0.5, 0.5]]), abs=1e-12)
    assert found.active.tolist() == [True, True, True, False]
    assert (found.modularity, found.compactness) == pytest.approx((1, 0.625))


def test_a_latent_of_both_sources_is_neither():
    joint = torch.stack([GRID[:, 0] * 4 + GRID[:, 1], GRID[:, 1]], 1)
    found = infomec(GRID, joint, discrete=True)
    assert found.information.numpy() == pytest.approx(np.array([[1, 0], [1, 1]]), abs=1e-12)
    assert (found.modularity, found.compactness) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_a_table_of_information(dtype):
    table = torch.tensor([[0.8, 0.1, 0.0], [0.2, 0.6, 0.3]], dtype=dtype)
    assert (modularity(table).item(), compactness(table).item()) == pytest.approx((0.771429, 0.575758), abs=1e-6)
    assert (modularity(table[:, :2]).item(), compactness(table[:, :2]).item()) == pytest.approx((0.657143, 0.638889), abs=1e-6)


def test_what_needs_two_latents_together_is_not_explicit():
    bits = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(5, 1)
    assert explicitness(bits[:, :1] ^ bits[:, 1:], bits, discrete=True) == pytest.approx(0, abs=1e-6)


def test_names_and_order_of_values_do_not_matter():
    s, z = drawn()
    codes = (2 * z).round().long()
    renamed = (-3 * codes + 7)[:, [2, 0, 1]]
    plain, other = infomec(s, codes, discrete=True), infomec(10 - s, renamed, discrete=True)
    for name in ("modularity", "explicitness", "compactness"):
        assert getattr(plain, name) == pytest.approx(getattr(other, name), abs=2e-3)


# Against scikit-learn, as the released code calls it


def test_information_of_categories_is_scikit_learns():
    s, z = drawn()
    codes = z.round().long()
    found = normalized_information(s, codes, discrete=True)
    for i, j in np.ndindex(2, 3):
        expected = mutual_info_score(s[:, i], codes[:, j]) / mutual_info_score(s[:, i], s[:, i])
        assert found[i, j].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_information_of_numbers_is_scikit_learns(dtype):
    s, z = drawn()
    found = normalized_information(s, z.to(dtype), discrete=False)
    for i, j in np.ndindex(2, 3):
        column = StandardScaler().fit_transform(z[:, j : j + 1].to(dtype).double())
        estimate = mutual_info_classif(column, s[:, i], n_neighbors=10, random_state=1)[0]
        assert found[i, j].item() == pytest.approx(estimate / mutual_info_score(s[:, i], s[:, i]), abs=1e-6)


@pytest.mark.parametrize("discrete", [True, False])
def test_explicitness_is_that_of_two_regressions(discrete):
    s, z = drawn()
    latents = z.round() if discrete else z
    features = (OneHotEncoder() if discrete else StandardScaler()).fit_transform(latents.numpy())
    expected = []
    for source in s.T.numpy():
        losses = []
        for table in (np.zeros_like(latents.numpy()), features):
            model = LogisticRegression(C=np.inf, class_weight="balanced").fit(table, source)
            losses.append(log_loss(source, model.predict_proba(table)))
        expected.append(1 - losses[1] / losses[0])
    assert explicitness(s, latents, discrete=discrete) == pytest.approx(np.mean(expected), abs=2e-4)


# What has no information


def test_latents_without_information_are_left_out_and_counted():
    noise = torch.tensor([0, 1] * 6)[:, None]
    latents = torch.cat([GRID[:, :1], noise], 1)
    information = normalized_information(GRID[:, :1], latents, discrete=True)
    assert information[0, 1].item() == pytest.approx(0, abs=1e-12)
    exact = torch.tensor([[0.4, 0.0], [0.0, 0.0]])
    assert modularity(exact).item() == 1
    assert compactness(exact).item() == 1


def test_latents_that_never_vary_score_nothing():
    found = infomec(GRID, torch.zeros(12, 3), discrete=False)
    assert (found.modularity, found.compactness) == (0, 0)
    assert found.explicitness == pytest.approx(0, abs=1e-9)
    assert not found.active.any()


def test_a_constant_source_has_no_share():
    constant = torch.cat([GRID, torch.ones(12, 1, dtype=torch.int64)], 1)
    assert normalized_information(constant, GRID, discrete=True)[2].isnan().all()
    assert explicitness(constant, GRID, discrete=True) > 0.999


def test_small_ranges_are_inactive_among_numbers_only():
    z = torch.tensor([[0.0, 0.0, 1.0], [10.0, 0.4, 1.0]])
    assert active_latents(z, discrete=False).tolist() == [True, False, False]
    assert active_latents(z, discrete=True).tolist() == [True, True, False]


def test_a_table_with_itself_has_its_entropy():
    labels = torch.tensor([0, 0, 1, 2])[:, None]
    assert plug_in_information(labels, labels).item() == pytest.approx(1.5 * math.log(2))
