"""Generators of new samples, judged by the distance of their distribution to the data."""
