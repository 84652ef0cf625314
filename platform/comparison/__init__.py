"""What may be said: statistics as pure functions, the comparison's tables, charts, report, and the methods' measured effects.

May import ``suite``, ``records`` and what lies below ``platform``.
"""
