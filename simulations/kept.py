"""What runs in one process may share: a domain's data, and what a frozen model makes of them.

Nothing is shared unless `keeping` is entered, as the jobs of a sweep do: by itself a run reads its
data anew. One data set is kept at a time, for as long as the process has use for it, and never
written anywhere.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from functools import cached_property

from tacit.components import make
from tacit.domains.domain import Domain, Examples, SiteData, check_inputs, check_sites
from tacit.domains.partitioned import PartitionedSites
from tacit.settings import Component

Features = dict[str, Examples]
"""By site: its training rows as the frozen part of a model hands them to the part that trains."""


class Loaded:
    """A domain, and its data once they are asked for.

    Parameters
    ----------
    chosen
        The domain's class and options.

    Attributes
    ----------
    features
        What models made of the data, each by what it depends on beside them.
    """

    def __init__(self, chosen: Component) -> None:
        self.domain: Domain = make("domain", chosen)
        self.features: dict[tuple[object, ...], Features] = {}

    @cached_property
    def data(self) -> Mapping[str, SiteData]:
        """Read the data of all sites, check them and put them in the order of names.

        Raises
        ------
        InputError
            They cannot be used.
        """
        data = self.domain.load()
        check_sites(data, self.domain.card)
        check_inputs(data, self.domain)
        # Sites on one table are in order, and are not touched.
        return data if isinstance(data, PartitionedSites) else dict(sorted(data.items()))


_KEPT: ContextVar[dict[str, Loaded] | None] = ContextVar("kept", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """Within it, runs share what one of them has loaded."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def loaded(chosen: Component) -> Loaded:
    """Make a domain; or return what was made of the same settings before.

    Raises
    ------
    ConfigurationError
        There is no such class, or it does not take these options.
    """
    kept = _KEPT.get()
    if kept is None:
        return Loaded(chosen)
    key = json.dumps(asdict(chosen), sort_keys=True, default=repr)
    if key not in kept:
        kept.clear()  # before another is read: never two at once
        kept[key] = Loaded(chosen)
    return kept[key]
