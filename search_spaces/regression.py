"""Search spaces of the regression track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "bottleneck_dim": IntDistribution(2, 128, log=True),
}
BETA = FloatDistribution(1e-4, 1.0, log=True)

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "mean_squared_error": TRAINING,
    "cs_ib": TRAINING
    | {
        "beta": BETA,
        "kernel_bandwidth_x": FloatDistribution(0.3, 5.0, log=True),
        "kernel_bandwidth_y": FloatDistribution(0.1, 3.0, log=True),
        "kernel_bandwidth_t": FloatDistribution(0.3, 5.0, log=True),
        "denominator": CategoricalDistribution(["paper", "code"]),
        "normalized_qmi": CategoricalDistribution([True, False]),
    },
    "vib": TRAINING | {"beta": BETA},
    "nib": TRAINING | {"beta": BETA, "transform": CategoricalDistribution(["identity", "square", "exponential"])},
    "hsic_bottleneck": TRAINING
    | {"lambda_x": FloatDistribution(1e-4, 1.0, log=True), "lambda_y": FloatDistribution(1e-3, 10.0, log=True)},
}
