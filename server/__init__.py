"""The coordinator: the round loop and its checkpoints."""
