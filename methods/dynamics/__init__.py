"""Dynamics: forecasts by a linear operator on learned or chosen coordinates, judged many steps ahead."""
