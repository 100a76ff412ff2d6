"""What becomes of a finished run's model: it is loaded, exported, and asked."""
