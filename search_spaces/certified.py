"""Search spaces of the certified track. Every method searches its noise and its learning rate, so tuning is fair."""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(5e-4, 1e-2, log=True),
    "sigma": FloatDistribution(0.05, 1.0, log=True),
}

CONSISTENCY: dict[str, BaseDistribution] = {
    # Ranges on a log scale cannot hold 0, the off value: it is compared by ablation.
    "consistency_weight": FloatDistribution(0.1, 30.0, log=True),
    "entropy_weight": FloatDistribution(1e-3, 1.0, log=True),
    "num_noise": IntDistribution(2, 8),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "randomized_smoothing": TRAINING,
    "consistency_smoothing": TRAINING | CONSISTENCY,
    "dual_smoothing": TRAINING | CONSISTENCY | {"margin_weight": FloatDistribution(0.0, 1.0)},
}
