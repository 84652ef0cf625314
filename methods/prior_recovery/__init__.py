"""Recovering a known prior from samples of it, as a proximal operator."""
