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

import torch

from tacit.domains.domain import Examples, SiteData, check_inputs, check_sites
from tacit.domains.partitioned import PartitionedSites
from tacit.experiment import domain_of
from tacit.models.reading import OnRead
from tacit.settings import Settings

Features = dict[str, Examples]
"""By site: its training rows as the frozen part of a model hands them to the part that trains."""


class Loaded:
    """A domain as a model sees it, and its data once they are asked for.

    Parameters
    ----------
    settings
        The experiment.
    on_read
        Called with how many examples the model has read of how many.

    Attributes
    ----------
    features
        What models made of the data, each by what it depends on beside them.
    """

    def __init__(self, settings: Settings, on_read: OnRead) -> None:
        self.domain = domain_of(settings, on_read)
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

    @cached_property
    def out_of_scope(self) -> torch.Tensor | None:
        """Examples of no class, where the domain has any to measure on."""
        found = getattr(self.domain, "out_of_scope", None)
        examples: torch.Tensor | None = None if found is None else found()
        return examples


_KEPT: ContextVar[dict[str, Loaded] | None] = ContextVar("kept", default=None)


@contextmanager
def keeping() -> Iterator[None]:
    """Within it, runs share what one of them has loaded."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def loaded(settings: Settings, on_read: OnRead = lambda done, total: None) -> Loaded:
    """Make a domain; or return what was made of the same settings before.

    Parameters
    ----------
    settings
        The experiment.
    on_read
        Called with how many examples a model has read of how many, where it reads any.

    Raises
    ------
    InputError
        There is no such class, it does not take these options, or no model reads its examples.
    """
    kept = _KEPT.get()
    if kept is None:
        return Loaded(settings, on_read)
    model, engine = settings.model, settings.engine
    # What a model reads depends on it, on where it does so and with how many threads.
    asked = [asdict(settings.domain), asdict(model.architecture), model.train, engine.device]
    key = json.dumps([*asked, engine.threads], sort_keys=True, default=repr)
    if key not in kept:
        kept.clear()  # before another is read: never two at once
        kept[key] = Loaded(settings, on_read)
    return kept[key]
