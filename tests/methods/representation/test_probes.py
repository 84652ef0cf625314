import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from regbench.methods.registry import create
from regbench.methods.representation.probes import RIDGE, LinearProbes
from regbench.methods.representation.supervised_encoder import Classifier
from regbench.methods.run import Run


def features(rows, seed):
    stream = torch.Generator().manual_seed(seed)
    factors = torch.stack([torch.randint(count, (rows,), generator=stream) for count in (4, 3)], 1)
    mixing = torch.randn(2, 5, generator=torch.Generator().manual_seed(9))
    return factors.float() @ mixing + 0.4 * torch.randn(rows, 5, generator=stream), factors


def test_all_probes_at_once_are_scikit_learns_one_by_one():
    x, factors = features(300, 0)
    unseen, truth = features(200, 1)
    accuracies = LinearProbes(x, factors, (4, 3)).accuracies(unseen, truth)
    scaler = StandardScaler().fit(x)
    for place in range(2):
        # The ridge stands beside the mean loss, there beside the sum of losses times C.
        model = LogisticRegression(C=1 / (2 * RIDGE * 300), max_iter=1000, tol=1e-8).fit(scaler.transform(x), factors[:, place])
        expected = np.mean(model.predict(scaler.transform(unseen)) == truth[:, place].numpy())
        assert accuracies[place].item() == pytest.approx(expected, abs=0.011)


def test_features_that_are_the_factors_are_read_off_and_constant_ones_are_not():
    _, factors = features(100, 0)
    indicators = torch.cat([torch.nn.functional.one_hot(column) for column in factors.T], 1).float()
    assert LinearProbes(indicators, factors, (4, 3)).accuracies(indicators, factors).tolist() == [1, 1]
    nothing = torch.ones(100, 2)
    most = [factors[:, place].bincount().max().item() / 100 for place in range(2)]
    assert LinearProbes(nothing, factors, (4, 3)).accuracies(nothing, factors).tolist() == pytest.approx(most)


def test_classes_that_a_factor_does_not_have_get_no_probability():
    found = Classifier(torch.nn.Flatten(), 4, (4, 2))(torch.rand(3, 1, 2, 2), torch.zeros(0))
    p = found.y.softmax(2)
    assert p.shape == (3, 2, 4)
    assert p[:, 1, 2:].abs().max() == 0


def test_a_supervised_encoder_is_above_a_random_one():
    settings = {"architecture": "dense", "hidden_dim": 32, "embedding_dim": 8, "probed": 300}
    found = {}
    for slug, more in (("random_encoder", {}), ("supervised_encoder", {"iterations": 200, "report_every": 200})):
        *_, metrics = create(slug, settings | more).train(Run("spatial_digits_4"))
        found[slug] = metrics["val/accuracy"]
    assert found["supervised_encoder"] > found["random_encoder"] + 0.1
    assert found["random_encoder"] > 0.15
