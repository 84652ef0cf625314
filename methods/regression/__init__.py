"""Regression through a bottleneck: judged by error, by what the bottleneck still tells of the input, and under attack."""
