"""Restoring images, judged by how close they come to the clean ones."""
