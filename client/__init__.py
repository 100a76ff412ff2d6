"""One site: what it admits, learns and releases."""
