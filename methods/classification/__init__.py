"""Classification: one label per input, judged by accuracy and by how far its confidences can be trusted."""
