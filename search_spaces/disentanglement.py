"""Search spaces of the disentanglement track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(3e-4, 3e-3, log=True)}
DECAY: dict[str, BaseDistribution] = {"weight_decay": FloatDistribution(1e-4, 3.0, log=True)}
QUANTIZATION: dict[str, BaseDistribution] = DECAY | {
    "quantization_weight": FloatDistribution(1e-4, 1.0, log=True),
    "commitment_weight": FloatDistribution(1e-4, 1.0, log=True),
    "num_values_per_latent": IntDistribution(2, 20),
}
ADVERSARIAL: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
    "gradient_penalty_weight": FloatDistribution(0.1, 100.0, log=True),
    "latent_weight": FloatDistribution(1.0, 1000.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "autoencoder": TRAINING | DECAY,
    # Latents between once and three times the sources, of which the embedded data have five.
    "latent_quantization": TRAINING
    | QUANTIZATION
    | {"num_latents": IntDistribution(5, 15), "shared_codebook": CategoricalDistribution([False, True])},
    "beta_vae": TRAINING | {"kl_weight": FloatDistribution(0.01, 30.0, log=True)},
    "beta_tcvae": TRAINING
    | {
        "total_correlation_weight": FloatDistribution(0.1, 30.0, log=True),
        "mutual_information_weight": FloatDistribution(0.1, 10.0, log=True),
        "dimension_wise_kl_weight": FloatDistribution(0.1, 10.0, log=True),
    },
    "biological_autoencoder": TRAINING
    | DECAY
    | {
        "nonnegative_weight": FloatDistribution(1e-2, 10.0, log=True),
        "activity_weight": FloatDistribution(1e-4, 1.0, log=True),
    },
    "vqvae": TRAINING
    | DECAY
    | {
        "quantization_weight": FloatDistribution(1e-2, 10.0, log=True),
        "commitment_weight": FloatDistribution(1e-2, 10.0, log=True),
        "num_embeddings": IntDistribution(8, 512, log=True),
    },
    "infowgan": ADVERSARIAL,
    "quantized_infogan": ADVERSARIAL | QUANTIZATION,
}
