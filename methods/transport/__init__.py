"""Optimal transport between two weighted point clouds, judged by cost and feasibility of the plan."""
