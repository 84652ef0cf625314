"""AC-PIC against its formulas with dense inverses, one merge at a time, and on data whose clusters are plain."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import make_circles
from sklearn.metrics import adjusted_rand_score

from regbench.methods.clustering.path_integral import path_integral_clusters, transition_matrix


def dense_clusters(x, clusters, neighbours, damping):
    """The algorithm as it is written, with an inverse for each pair of clusters."""
    walk, nearest = transition_matrix(x, neighbours, 1.0)
    matrix = np.eye(len(x)) - damping * walk.toarray()
    groups = [{row} for row in range(len(x))]
    for row, other in enumerate(nearest):
        one, two = (next(group for group in groups if member in group) for member in (row, other))
        if one is not two:
            groups.remove(two)
            one |= two

    def integral(rows, starts):
        inverse = np.linalg.inv(matrix[np.ix_(rows, rows)])
        inside = np.isin(rows, list(starts)).astype(float)
        return inside @ inverse @ inside / len(starts) ** 2

    def gain(one, two):
        both = sorted(one | two)
        return sum(integral(both, part) - integral(sorted(part), part) for part in (one, two))

    while len(groups) > clusters:
        one, two = max(itertools.combinations(groups, 2), key=lambda pair: gain(*pair))
        groups.remove(two)
        one |= two
    labels = np.empty(len(x), int)
    for label, group in enumerate(groups):
        labels[list(group)] = label
    return labels


@pytest.mark.parametrize("damping", [0.01, 0.3])
@pytest.mark.parametrize("seed", range(2))
def test_it_merges_as_the_formulas_say(seed, damping):
    x = np.random.default_rng(seed).standard_normal((40, 2))
    found = path_integral_clusters(x, 3, neighbours=6, damping=damping)
    assert adjusted_rand_score(found, dense_clusters(x, 3, 6, damping)) == 1


def test_rows_of_the_graph_sum_to_1_and_see_themselves_and_their_neighbours():
    x = np.random.default_rng(0).standard_normal((30, 3))
    walk, nearest = transition_matrix(x, 4, 1.0)
    np.testing.assert_allclose(walk.sum(axis=1), 1)
    assert (np.diff(walk.indptr) == 5).all()
    distances = ((x[:, None] - x) ** 2).sum(2) + np.diag(np.full(30, np.inf))
    np.testing.assert_array_equal(nearest, distances.argmin(1))
    width = np.sort(distances, axis=1)[:, :4].mean()
    matrix = walk.toarray()
    np.testing.assert_allclose(matrix[0, nearest[0]] / matrix[0, 0], np.exp(-distances[0].min() / width))


def test_it_follows_rings_and_joins_parts_that_no_path_joins():
    points, labels = make_circles(200, factor=0.3, noise=0.03, random_state=0)
    assert adjusted_rand_score(labels, path_integral_clusters(points, 2, neighbours=8)) == 1
    apart = np.concatenate([points[:20] + 100 * number for number in range(4)])
    assert len(set(path_integral_clusters(apart, 2, neighbours=3))) == 2
