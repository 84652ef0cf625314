"""Search spaces of the classification track. Every method searches the same learning rates and decays, so tuning is fair."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0.01, 0.2, log=True),
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
}

COMP_SUM: dict[str, BaseDistribution] = {
    "tau": FloatDistribution(0.0, 2.0),
    "rho": FloatDistribution(0.1, 10.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "cross_entropy": TRAINING,
    "weight_decay": TRAINING,
    "label_smoothing": TRAINING | {"smoothing": FloatDistribution(0.0, 0.5)},
    "confidence_penalty": TRAINING | {"penalty": FloatDistribution(0.0, 1.0)},
    "ps_kd": TRAINING | {"final_alpha": FloatDistribution(0.0, 0.95)},
    "crrelu": TRAINING | {"epsilon_init": FloatDistribution(-0.5, 0.5)},
    "mixup": TRAINING | {"alpha": FloatDistribution(0.1, 32.0, log=True)},
    "comp_sum": TRAINING | COMP_SUM,
    # Ranges on a log scale cannot hold 0, the off value: it is compared by ablation.
    "adversarial_comp_sum": TRAINING | COMP_SUM | {"nu": FloatDistribution(1e-3, 10.0, log=True)},
    "pgd_adversarial_training": TRAINING | {"radius": FloatDistribution(0.0, 0.2)},
    "trades": TRAINING | {"beta": FloatDistribution(0.1, 10.0, log=True)},
    "weighted_logistic_regression": {"decay": FloatDistribution(1e-6, 0.1, log=True)},
    "weight_normalization": TRAINING,
    "weight_compander": TRAINING
    | {
        "wc_scale": FloatDistribution(0.3, 2.0),
        "wc_stretch": FloatDistribution(0.3, 2.0),
        "wc_learnable": CategoricalDistribution(["fixed", "network", "layer"]),
        "wc_function": CategoricalDistribution(["arctan", "erf", "arsinh"]),
    },
    "sparse_router": TRAINING
    | {
        "learning_rate": FloatDistribution(0.003, 0.1, log=True),  # of Adam
        "quadratic_weight": FloatDistribution(1e-2, 10.0, log=True),
        # From the fewest tokens per expert with which a mini-batch of 128 fits into 8 experts, to no limit.
        "max_nonzeros": IntDistribution(16, 128, log=True),
    },
    "diffusion_spectral_entropy": TRAINING
    | {
        "dse_weight": FloatDistribution(1e-3, 1.0, log=True),
        "dsmi_weight": FloatDistribution(1e-3, 1.0, log=True),
        "dse_direction": CategoricalDistribution(["compress", "spread"]),
        "kernel_bandwidth": FloatDistribution(0.05, 1.0, log=True),  # of rows of length 1; raw features ask for up to 50
        "diffusion_time": IntDistribution(1, 8),
    },
    "adaptive_mi": {
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),  # of Adam
        "l2_weight": FloatDistribution(1e-5, 1e-1, log=True),
        "mi_weight": FloatDistribution(0.0, 0.5),  # with its off value, the default
    },
}
