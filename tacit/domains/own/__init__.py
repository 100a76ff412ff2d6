"""Domains of anybody's own data: a table, images or texts, each with a schema of public facts."""
