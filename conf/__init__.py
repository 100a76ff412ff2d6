"""What a person chooses: YAML for Hydra, no logic."""
