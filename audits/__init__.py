"""Attacks on a run, and what they say of its claim."""
