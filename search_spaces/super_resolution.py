"""Search spaces of the super-resolution track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(5e-4, 1e-2, log=True)}
SEARCH: dict[str, BaseDistribution] = TRAINING | {
    "bitops_weight": FloatDistribution(1e-5, 0.1, log=True),
    "arch_learning_rate": FloatDistribution(1e-4, 5e-2, log=True),
    "weight_learning_rate": FloatDistribution(5e-4, 5e-3, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "bicubic_enlarging": {},
    "uniform_quantization": TRAINING
    | {"bits": CategoricalDistribution([2, 3, 4, 8]), "operations_of": CategoricalDistribution(["reference", "largest"])},
    "random_architecture": TRAINING,
    "mixed_precision": SEARCH,
    "search_then_quantize": SEARCH | {"bits": CategoricalDistribution([2, 3, 4, 8])},
    "quantnas": SEARCH
    | {
        "entropy_weight": FloatDistribution(1e-5, 0.1, log=True),
        "noise_scale": FloatDistribution(0.0, 1.0),
        "quantization_noise": CategoricalDistribution(["gaussian", "uniform", "off"]),
        "deviation": CategoricalDistribution(["adq", "plain"]),
        "sparsity_type": CategoricalDistribution(["entropy", "l1", "l1_softmax", "none"]),
        "entropy_warmup": IntDistribution(0, 10),
    },
}
