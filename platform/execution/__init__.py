"""How a trial runs: the one loop that trains it, inline, under Ray Tune or Ray Train, and the private Ray cluster.

May import ``search``, ``suite``, ``records`` and what lies below ``platform``.
"""
