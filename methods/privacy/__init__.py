"""Privacy of the training images: what an attacker can reconstruct from a classifier's answers, beside its accuracy."""
