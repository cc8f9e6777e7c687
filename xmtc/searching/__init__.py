"""Search for settings on validation scores."""
