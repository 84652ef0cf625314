"""Private linear regression: how well released predictions serve, and what they tell of a sensitive attribute."""
