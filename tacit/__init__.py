"""The ground floor: a site's data, learning and privacy, all of it that needs no network."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tacit")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
