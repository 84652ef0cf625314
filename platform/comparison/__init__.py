"""What may be said: statistics as pure functions, the comparison's tables, plots, report, and the methods' measured effects.

May import ``execution``, ``suite``, ``records``, ``verdicts``, ``inventory`` and what lies below ``platform``.
"""

import logging

# Matplotlib warns where the home cannot be written, and then does without.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
