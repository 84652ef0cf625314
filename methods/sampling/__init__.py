"""Samplers of diffusion models, judged by how far few evaluations of the model end from where its exact flow ends."""
