"""Search spaces of the privacy track. Every method searches the same learning rates, so tuning is fair."""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(3e-4, 1e-2, log=True)}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "undefended": TRAINING,
    "uniform_mixing": TRAINING | {"share": FloatDistribution(0.0, 0.99)},
    "mutual_information_defense": TRAINING
    | {
        # A range on a log scale cannot hold 0, the off value: it is compared by ablation.
        "beta": FloatDistribution(1e-4, 0.3, log=True),
        "bottleneck_dim": IntDistribution(8, 1024, log=True),
    },
    "dp_sgd": TRAINING
    | {
        "learning_rate": FloatDistribution(1e-3, 3e-2, log=True),  # noise asks for larger steps
        "noise_multiplier": FloatDistribution(0.3, 10.0, log=True),
        "clip_norm": FloatDistribution(0.1, 10.0, log=True),
    },
}
