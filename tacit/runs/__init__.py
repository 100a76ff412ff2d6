"""What a run leaves behind: its directory, history, results and report."""
