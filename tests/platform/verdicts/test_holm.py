"""Holm's method on one table and on many at once."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from regbench.platform.verdicts.family import ALPHA, holm, levels, steps

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_corrected_p_values_are_those_of_statsmodels(count):
    tables = RANDOM.uniform(size=(50, count)) ** 4
    tables[:10] = tables[:10].round(1)  # equal ones
    corrected, _ = steps(tables)
    for p, found in zip(tables, corrected, strict=True):
        rejected, expected, *_ = multipletests(p, alpha=ALPHA, method="holm")
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert holm(p.tolist()) == found.tolist()
        # Whatever is rejected is so at the level of its step, in the order of p; the others have Bonferroni's.
        found = np.array(levels(p.tolist()))
        assert (found[~rejected] == ALPHA / count).all()
        assert (p[rejected] < found[rejected]).all()
        np.testing.assert_allclose(np.sort(found[rejected]), ALPHA / (count - np.arange(rejected.sum())))


def test_what_is_not_tested_counts_for_nothing():
    p = [0.02, np.nan, 0.001, np.nan, 0.5]
    np.testing.assert_allclose(holm(p), [0.04, np.nan, 0.003, np.nan, 0.5])
    np.testing.assert_allclose(levels(p), [ALPHA / 2, ALPHA / 3, ALPHA / 3, ALPHA / 3, ALPHA / 3])
    assert np.isnan(holm([np.nan, np.nan])).all()
    assert (holm([]), levels([]), levels([np.nan])) == ([], [], [ALPHA])
