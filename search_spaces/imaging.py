"""Search spaces of the imaging track."""

from optuna.distributions import BaseDistribution, FloatDistribution

WEIGHT: dict[str, BaseDistribution] = {"regularization_weight": FloatDistribution(1e-3, 1.0, log=True)}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "noisy_image": {},
    "total_variation": WEIGHT | {"smoothing": FloatDistribution(1e-4, 0.1, log=True)},
    "field_of_experts": WEIGHT,
}
