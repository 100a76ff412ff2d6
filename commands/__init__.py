"""How a command line becomes settings, an error or an exit code."""
