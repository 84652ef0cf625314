import math
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import beta, kstest
from torch import nn
from torch.nn.functional import cross_entropy

from regbench.methods.mixed_modality.networks import build_classifier
from regbench.methods.mixed_modality.random_mask import RandomMask
from regbench.methods.run import Run


class Seen(nn.Module):
    """Keeps what it is given, and gives two logits."""

    def forward(self, x):
        self.x = x
        return x.new_zeros(len(x), 2, requires_grad=True)


@pytest.mark.parametrize("log_concentration", [0.5, -1.0])
def test_cells_are_independent_betas(log_concentration):
    model, ones = Seen(), torch.ones(64, 1, 8, 8)
    method = RandomMask(grid_size=8, blur_kernel=1, log_concentration=log_concentration)
    method.heat(model, None, ones, torch.zeros(64, dtype=torch.int64), Run("digit_modalities"))
    concentration = math.exp(log_concentration)
    assert kstest(model.x.flatten().numpy(), beta(concentration, concentration).cdf).pvalue > 1e-3
    cells = model.x.flatten(1)
    correlation = torch.corrcoef(cells.T)[torch.triu_indices(64, 64, 1).unbind()]
    # Of 64 images: standard deviation 1 / 8 about 0.
    assert abs(correlation.mean().item()) < 0.01


def test_the_objective_is_differentiable_in_the_strength():
    torch.manual_seed(0)
    method, network = RandomMask(), build_classifier("cnn", (1, 8, 8), 5).double().eval()
    x, y, cells = torch.rand(8, 1, 8, 8, dtype=torch.float64), torch.arange(8) % 5, torch.rand(8, 16, dtype=torch.float64)

    def value(strength):
        return method.objective(network, (x, y, cells), SimpleNamespace(mask_strength=strength))[0]

    strength = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    value(strength).backward()
    slope = (value(0.6 + 1e-6) - value(0.6 - 1e-6)).item() / 2e-6
    assert strength.grad.item() == pytest.approx(slope, rel=1e-5)
    torch.testing.assert_close(value(0.0), cross_entropy(network(x), y))
