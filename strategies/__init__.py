"""How the replies of sites become the next model."""
