"""Predictions that do not depend on protected attributes, judged by their error and by what is left of the dependence."""
