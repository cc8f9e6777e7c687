"""What the stored lists of finished runs tell beyond their scores."""
