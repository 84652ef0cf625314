"""Trees whose splits pay for information: against scikit-learn's, by hand, and attacked."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score
from sklearn.tree import DecisionTreeClassifier

from regbench.methods import Run
from regbench.methods.private_trees.decision_tree import DecisionTree
from regbench.methods.private_trees.mutual_information_tree import MutualInformationTree
from regbench.methods.private_trees.tree import grow, information
from regbench.methods.shared.data import load

LIMITS = {"max_leaves": 1000, "max_depth": 3, "min_rows": 5}


def rows(count=300, classes=3, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 5))
    y = np.digitize(x[:, 0] + 0.5 * x[:, 1] ** 2 + 0.5 * random.normal(size=count), np.linspace(-0.5, 1, classes - 1))
    return torch.tensor(x), torch.tensor(y)


# Information


def test_the_cards_information():
    counts = torch.tensor([[[50.0, 0], [0, 25], [0, 25]]], dtype=torch.float64)
    three = torch.diag(torch.tensor([50.0, 25, 25], dtype=torch.float64))
    assert information(three, "label").item() == pytest.approx(1.039721, abs=1e-6)
    assert information(counts, "label").item() == pytest.approx(math.log(2))


def test_information_is_that_of_the_joint_distribution():
    """Of leaf and released label, written out as a table."""
    counts = torch.tensor([[30.0, 10, 0], [5, 5, 20], [1, 28, 1]], dtype=torch.float64)
    joint = {"sampled": counts.numpy() / 100, "label": np.array([[40, 0, 0], [0, 0, 30], [0, 30, 0]]) / 100}
    for release, table in joint.items():
        expected = entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table.ravel())
        assert information(counts, release).item() == pytest.approx(expected, abs=1e-12)
        assert information(counts, release).item() == pytest.approx(mutual_info_score(None, None, contingency=100 * table))


# Growth


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("release", ["label", "sampled"])
def test_without_a_price_it_is_the_tree_of_scikit_learn(seed, release):
    x, y = rows(seed=seed)
    tree = grow(x, y, 3, 0.0, release=release, **LIMITS)
    other = DecisionTreeClassifier(criterion="entropy", max_depth=3, min_samples_leaf=5, random_state=0).fit(x, y)
    new = rows(1000, seed=seed + 10)[0]
    for points in (x, new):
        found = tree.counts[tree.leaves(points)]
        np.testing.assert_allclose((found / found.sum(1, keepdim=True)).numpy(), other.predict_proba(points), atol=1e-12)


def test_counts_are_those_of_the_rows_in_each_leaf():
    x, y = rows()
    tree = grow(x, y, 3, 0.2, release="label", **LIMITS)
    leaves = tree.leaves(x)
    assert (tree.column[leaves] == -1).all()
    for leaf in leaves.unique():
        assert tree.counts[leaf].tolist() == y[leaves == leaf].bincount(minlength=3).tolist()
        assert (leaves == leaf).sum() >= LIMITS["min_rows"]


@pytest.mark.parametrize(("limit", "value"), [("max_leaves", 3), ("max_depth", 1), ("max_depth", 0), ("min_rows", 200)])
def test_limits_hold(limit, value):
    x, y = rows()
    tree = grow(x, y, 3, 0.0, release="label", **LIMITS | {limit: value})
    leaves = int((tree.column < 0).sum())
    assert leaves == {("max_leaves", 3): 3, ("max_depth", 1): 2, ("max_depth", 0): 1, ("min_rows", 200): 1}[limit, value]


def test_with_sampled_labels_a_price_of_one_buys_no_split_and_any_lower_one_all():
    x, y = rows()
    assert len(grow(x, y, 3, 1.0, release="sampled", **LIMITS).column) == 1
    free, priced = (grow(x, y, 3, price, release="sampled", **LIMITS) for price in (0.0, 0.9))
    assert sorted(free.counts.tolist()) == sorted(priced.counts.tolist())


def test_the_score_of_every_split_is_gain_less_price_times_increase():
    """The first split is the best of all splits, each scored from the labels that it would release."""
    x, y = rows(60, classes=2)
    for price in (0.2, 0.5, 0.7):
        best = -np.inf
        for column in range(5):
            for value in x[:, column].sort().values[4:-5]:
                right = x[:, column] > value
                parts = [y[~right], y[right]]
                label = np.zeros(60)
                label[right.numpy()] = parts[1].bincount(minlength=2).argmax().item()
                label[~right.numpy()] = parts[0].bincount(minlength=2).argmax().item()
                gain = mutual_info_score(right, y)
                best = max(best, gain - price * entropy(np.bincount(label.astype(int), minlength=2) / 60))
        tree = grow(x, y, 2, price, release="label", **LIMITS | {"max_depth": 1})
        if len(tree.column) == 1:
            assert best <= 1e-12
        else:
            right = x[:, tree.column[0]] > tree.threshold[0]
            labels = tree.counts[tree.leaves(x)].argmax(1)
            found = mutual_info_score(right, y) - price * entropy(labels.bincount(minlength=2).numpy() / 60)
            assert found == pytest.approx(best, abs=1e-12)


def test_less_information_is_released_at_a_higher_price():
    x, y = rows(classes=2)
    spent = []
    for price in (0.0, 0.3, 0.6, 0.9, 3.0):
        tree = grow(x, y, 2, price, release="label", **LIMITS)
        spent.append(information(tree.counts[tree.column < 0], "label").item())
    assert spent == sorted(spent, reverse=True)
    assert spent[-1] == 0


# Release and attack


def judged(method, seed=0):
    return next(method.train(Run("private_breast_cancer", seed=seed, test=True)))


def test_accuracy_is_that_of_scikit_learns_tree():
    data = load("private_breast_cancer")
    other = DecisionTreeClassifier(criterion="entropy", max_depth=2, min_samples_leaf=3, random_state=0).fit(
        *data.train.tensors
    )
    found = judged(DecisionTree(share=1.0, max_depth=2))["test/accuracy"]
    assert found == pytest.approx(other.score(*data.test.tensors), abs=0.01)


def test_labels_give_the_radius_away_and_a_constant_does_not():
    told, silent = (
        [judged(method, seed) for seed in range(5)] for method in (DecisionTree(), MutualInformationTree(tree_lambda=3.0))
    )
    assert np.mean([metrics["val/attack_advantage"] for metrics in told]) > 0.05
    assert all(metrics["val/attack_advantage"] == metrics["val/information"] == 0 for metrics in silent)
    assert all(metrics["val/information"] > 0.5 for metrics in told)


def test_sampled_labels_are_drawn_from_their_leafs_frequencies():
    method = DecisionTree(leaf_release="sampled", max_depth=1, share=1.0)
    data = load("private_breast_cancer")
    model = method.fit(*data.train.tensors, data)
    x = data.train.tensors[0]
    generator = torch.Generator().manual_seed(0)
    leaf = model.predict(x)
    released = torch.stack([model.release(leaf, generator) for _ in range(300)])
    for one in leaf.unique():
        share = data.train.tensors[1][leaf == one].double().mean().item()
        assert released[:, leaf == one].mean().item() == pytest.approx(share, abs=0.02)
        likelihood = model.log_likelihood(torch.tensor([0.0, 1.0]), torch.stack([one, one]))
        assert likelihood.exp().tolist() == pytest.approx([1 - share, share])


@pytest.mark.parametrize("release", ["label", "sampled"])
def test_switched_off_it_is_the_plain_tree_bit_for_bit(release):
    off = MutualInformationTree(leaf_release=release).baseline()
    assert judged(off) == judged(DecisionTree(leaf_release=release))
