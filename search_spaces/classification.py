"""Search spaces of the classification track. Every method searches the same learning rates and decays, so tuning is fair."""

from optuna.distributions import BaseDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0.01, 0.2, log=True),
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "cross_entropy": TRAINING,
    "label_smoothing": TRAINING | {"smoothing": FloatDistribution(0.0, 0.5)},
    "confidence_penalty": TRAINING | {"penalty": FloatDistribution(0.0, 1.0)},
    "ps_kd": TRAINING | {"final_alpha": FloatDistribution(0.0, 0.95)},
    "crrelu": TRAINING | {"epsilon_init": FloatDistribution(-0.5, 0.5)},
    "comp_sum": TRAINING | {"tau": FloatDistribution(0.0, 2.0), "rho": FloatDistribution(0.1, 10.0, log=True)},
}
