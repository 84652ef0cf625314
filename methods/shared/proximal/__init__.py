"""Learned proximal operators: gradients of convex networks, how they are trained, inverted, and used in inverse problems."""
