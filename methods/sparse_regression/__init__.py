"""Regression on more covariates than samples, a few of which matter: which ones, and how much."""
