"""What may be said: statistics as pure functions, the comparison's tables, charts, report, and the methods' measured effects.

May import ``execution``, ``suite``, ``records``, ``verdicts``, ``inventory`` and what lies below ``platform``.
"""
