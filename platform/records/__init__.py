"""What is on disk, the only truth: files of a sweep on any file system, its trials and curves, the lease of its driver.

May import what lies below ``platform``, and no other room.
"""
