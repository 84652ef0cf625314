"""Suites at the size of the papers: public data sets and GPUs are needed."""
