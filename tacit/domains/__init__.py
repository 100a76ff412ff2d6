"""What a site holds: rows, a task and a schema of public knowledge."""
