"""What a person may well ask for by name and does not get, with the reason; needs no Flower."""

from collections.abc import Mapping
from typing import Final

_NOISE: Final = (
    "its noise comes from numpy's global generator, which anyone with the seed can repeat, and no "
    "ledger is charged for it: choose privacy=record, where every site adds noise itself, and "
    "strategy=fedavg"
)
_TREES: Final = "it joins boosted trees, and sites here send a neural model's weights"

STRATEGIES: Final[Mapping[str, str]] = {
    "QFedAvg": (
        "q-FedAvg needs each site's loss, which no privacy event pays for, so that it never leaves "
        "a site, with privacy or without: take strategy=fedavg, or strategy=fedprox for unlike "
        "sites"
    ),
    "DifferentialPrivacyClientSideAdaptiveClipping": _NOISE,
    "DifferentialPrivacyClientSideFixedClipping": _NOISE,
    "DifferentialPrivacyServerSideAdaptiveClipping": _NOISE,
    "DifferentialPrivacyServerSideFixedClipping": _NOISE,
    "FedXgbBagging": _TREES,
    "FedXgbCyclic": _TREES,
}
"""Classes of ``flwr.serverapp.strategy``."""
