"""Search spaces of the discovery track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-2, 0.2, log=True),
    "memax_weight": FloatDistribution(0.25, 8.0, log=True),
    "sup_weight": FloatDistribution(0.1, 0.9),
    "teacher_temperature": FloatDistribution(0.02, 0.1, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "simgcd": TRAINING,
    "lego_gcd": TRAINING
    | {
        "ler_weight": FloatDistribution(0.05, 5.0, log=True),
        "dkl_weight": FloatDistribution(0.05, 5.0, log=True),
        "map_margin": FloatDistribution(0.0, 1.0),
        "confidence_threshold": FloatDistribution(0.5, 0.99),
        "ler_temperature": FloatDistribution(0.03, 0.2, log=True),
        "qhat_momentum": CategoricalDistribution([0.9, 0.99, 0.999]),
    },
    # Its features are given, and the same in every trial.
    "pretrained_kmeans": {"restarts": IntDistribution(1, 20)},
}
