"""What is to be run: the suite file, its studies and trials, and what ``sampler: bilevel`` makes of a study.

May import ``records`` and what lies below ``platform``.
"""
