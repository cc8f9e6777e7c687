"""Answering a file or a stream of documents: reading them, running the model, writing answers that can be resumed."""
