"""A stream with a seed, and how many words it takes at once."""

from tacit.privacy import randomness
from tacit.privacy.randomness import Stream

PAIRS = randomness._PAIRS_AT_ONCE


def seeded(seed=0, site="hospital_a", round=0, purpose="noise"):
    return Stream.seeded(seed, site, round, purpose)
