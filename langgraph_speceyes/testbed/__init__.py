"""The embedded world, its questions, and the pair of models trained on it."""
