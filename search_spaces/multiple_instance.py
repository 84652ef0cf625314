"""Search spaces of the multiple-instance track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "attention_dim": IntDistribution(16, 256, log=True),
    "instance_subsampling": FloatDistribution(0.5, 1.0),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "attention_mil": TRAINING,
    "attention_entropy_mil": TRAINING
    | {
        "attention_entropy_weight": FloatDistribution(1e-3, 3.0, log=True),
        "weight_annealing": CategoricalDistribution(["constant", "cosine"]),
    },
}
