"""Search spaces of the density track. Every method searches the same noise and the same rates, so tuning is fair."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

NOISE: dict[str, BaseDistribution] = {"noise_scale": FloatDistribution(0.5, 4.0, log=True)}

TRAINING: dict[str, BaseDistribution] = NOISE | {
    "learning_rate": FloatDistribution(1e-4, 0.3, log=True),
    "noise_batch_ratio": CategoricalDistribution([1, 2, 4, 8]),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "importance_likelihood": TRAINING,
    "noise_alone": NOISE,
    "noise_contrastive": TRAINING,
    "exponential_nce": TRAINING,
    "compositional_unnormalized": TRAINING
    | {
        "inner_moving_average_rate": FloatDistribution(0.01, 1.0, log=True),
        "gradient_moving_average_rate": FloatDistribution(0.05, 1.0, log=True),
        # 0, the default, is no point of a logarithmic range: a range from it in the place of 1e-6.
        "energy_weight_decay": FloatDistribution(0.0, 1e-2),
    },
}
