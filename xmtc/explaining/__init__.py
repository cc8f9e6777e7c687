"""Why a document got its labels: what the head changed and from which evidence, and which words mattered."""
