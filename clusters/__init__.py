"""Where a sweep runs: kinds of cluster files beside the files themselves, and how each kind is handed a job.

A lower floor: it is handed a folder to ship, a command, variables and a storage address, and knows no suite and no sweep.
May import ``regbench.methods.errors`` and ``regbench.methods.strict``.
"""
