"""A correlation head alone, trained on the stored scores of any other system."""
