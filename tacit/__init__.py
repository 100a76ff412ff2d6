"""Tacit's ground floor: everything about a site's data, learning and privacy that needs no network."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tacit")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
