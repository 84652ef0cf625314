"""Private decision trees: how well released labels serve, and what they tell of a sensitive attribute."""
