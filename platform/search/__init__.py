"""What to train next: an Optuna study for each entry and data set, its schedulers, and the stages after tuning.

May import ``suite``, ``records`` and what lies below ``platform``.
"""
