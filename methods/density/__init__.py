"""Density: unnormalized models fitted against noise, judged by likelihood, outliers and samples."""
