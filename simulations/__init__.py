"""Many sites on one box."""
