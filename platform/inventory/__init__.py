"""What there is, as plain data: methods, tracks, settings, ranges, data sets; made from the code and kept in the user's cache.

A command that only tells something, or refuses a wrong name, reads it and imports no PyTorch.
May import what lies below ``platform``, and no other room.
"""
