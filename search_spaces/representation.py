"""Search spaces of the representation track. 0, which a log range cannot hold, is the off value and is compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
    "weight_decay": FloatDistribution(1e-4, 1.0, log=True),
    "batch_size": CategoricalDistribution([16, 32, 64, 128, 256]),
    "embedding_dim": IntDistribution(16, 256, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "contrastive_coding": TRAINING,
    "wasserstein_dependency": TRAINING
    | {
        "gradient_penalty_weight": FloatDistribution(0.01, 10.0, log=True),
        "lipschitz_constant": FloatDistribution(0.1, 10.0, log=True),
        "penalty_sides": CategoricalDistribution(["two", "one"]),
        "dependency": CategoricalDistribution(["wpc", "wdm"]),
    },
    "supervised_encoder": TRAINING,
    "random_encoder": {"embedding_dim": IntDistribution(16, 256, log=True)},
}
