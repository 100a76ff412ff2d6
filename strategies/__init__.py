"""How the replies of sites become the next model.

The lowest floor that knows Flower, so it is here that Flower is told not to phone home; an
explicit choice in the environment is left as it is.
"""

import logging
import os
from importlib import import_module

for _variable, _value in (
    ("FLWR_TELEMETRY_ENABLED", "0"),
    ("FLWR_DISABLE_UPDATE_CHECK", "1"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
):
    os.environ.setdefault(_variable, _value)

# Flower logs every round at INFO to stderr, which would tear the progress display. It sets its own
# level when it is imported first: that has to be before.
import_module("flwr.app")
logging.getLogger("flwr").setLevel(logging.WARNING)
