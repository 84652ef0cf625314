"""When to use each method and what it costs; packaged, so that every installation can show it."""
