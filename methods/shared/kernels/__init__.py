"""Compiled kernels, for what tensor operations lose by their number; each is imported, and compiled, only by who needs it."""
