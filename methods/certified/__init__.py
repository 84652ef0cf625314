"""Certified classification: labels that provably no perturbation of some length changes, judged by how far that holds."""
