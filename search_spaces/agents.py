"""Search spaces of the agents track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1e-3, log=True),
    "updates_per_rollout": CategoricalDistribution([1, 4]),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "agent_grpo": TRAINING | {"kl_weight": FloatDistribution(1e-3, 0.1, log=True)},
    "epo": TRAINING
    | {
        "entropy_weight": FloatDistribution(1e-4, 0.1, log=True),
        "smooth_weight": FloatDistribution(0.02, 0.49, log=True),
        "kappa_low": FloatDistribution(0.0, 0.9),
        "kappa_high": FloatDistribution(1.1, 3.0),
        "decay": FloatDistribution(0.3, 10.0, log=True),
        "schedule": CategoricalDistribution(["paper", "constant"]),
    },
}
