"""Measured effects and the claims they stand beside; packaged, so that every installation can show them."""
