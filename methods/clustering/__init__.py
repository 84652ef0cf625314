"""Clustering of images without labels, judged by how well clusters are classes."""
