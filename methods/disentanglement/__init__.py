"""Disentanglement: codes of images whose parts each follow one source of variation, found without being told the sources."""
