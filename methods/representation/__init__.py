"""Representation: encoders of paired views that keep the factors which the views share, judged by linear probes."""
