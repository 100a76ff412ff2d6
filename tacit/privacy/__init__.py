"""The privacy path: events, what they cost, and who says no."""
