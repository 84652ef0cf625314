"""Search spaces of the fairness track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
    "batch_size": CategoricalDistribution([128, 256, 512]),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "plain_prediction": TRAINING,
    "distance_covariance_fairness": TRAINING
    | {
        "fairness_weight": FloatDistribution(0.1, 1000.0, log=True),
        "penalty": CategoricalDistribution(["sum", "ccdcov", "jdcov"]),
        "jdcov_c": FloatDistribution(0.1, 10.0, log=True),
    },
}
