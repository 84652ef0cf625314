"""Multiple-instance learning: one label for a bag of instances, judged by ranking, and by where attention goes."""
