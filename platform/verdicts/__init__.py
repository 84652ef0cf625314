"""What may be said of differences: pure functions on numbers, whose tests hold at whatever number of units one stops."""
