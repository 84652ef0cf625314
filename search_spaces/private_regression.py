"""Search spaces of the private regression track. Every method searches its noise, the plain way to privacy."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

NOISE: dict[str, BaseDistribution] = {"output_noise_std": FloatDistribution(0.05, 1.0, log=True)}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "least_squares": NOISE,
    "mutual_information_regression": NOISE
    | {
        # A range on a log scale cannot hold 0, the off value: it is compared by ablation.
        "information_weight": FloatDistribution(1e-3, 3.0, log=True),
        "estimate": CategoricalDistribution(["gaussian", "pairwise"]),
    },
}
