"""Search spaces of the language track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(5e-4, 5e-3, log=True),
    "weight_decay": FloatDistribution(0.01, 1.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "language_model": TRAINING,
    "entropy_guided_attention": TRAINING
    | {
        "penalty_weight": FloatDistribution(1e-3, 3.0, log=True),
        "tolerance": FloatDistribution(0.0, 0.35),
        "threshold_init": FloatDistribution(0.2, 0.6),
        "temperature_init": FloatDistribution(0.01, 1.0, log=True),
        "scale_init": CategoricalDistribution([0.5, 1.0, 2.0]),
        "entropy_reference": CategoricalDistribution(["log", "causal"]),
    },
}
