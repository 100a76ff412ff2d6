"""What is public about each domain, tasks like it, and the settings that are tried on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.synthetic import Origin, SyntheticTask, make_fleets, make_task
from benchmarks.training import Setting, grid
from tacit.domains import fleets, heart_disease, hospitals
from tacit.domains.domain import Metric, Target
from tacit.domains.schema import Schema
from tacit.models.architecture import Architecture
from tacit.models.linear import Linear
from tacit.models.tabular import Tabular


@dataclass(frozen=True, slots=True)
class Shape:
    """What is public about a domain, tasks like it by number, and the grids that are tried."""

    schema: Schema
    sizes: Mapping[str, int]
    task: Callable[[int], SyntheticTask]
    architecture: Architecture
    epsilon: float
    delta: float
    private: tuple[Setting, ...]
    plain: tuple[Setting, ...]
    target: Target | None = None
    tasks: int = 24
    shares: int = 1

    @property
    def metric(self) -> Metric:
        """What is compared: the mean of the sites."""
        return Metric.RMSE if self.target else Metric.ACCURACY

    @property
    def arms(self) -> Mapping[str, tuple[Setting, ...]]:
        """The grid of the federated run and of each baseline."""
        if self.shares > 1:
            return {"federated": self.private}
        return {
            "federated": self.private,
            "alone": self.private,
            "federated without privacy": self.plain,
            "pooled without privacy": self.plain,
        }


def _hospitals(
    schema: Schema, sizes: Mapping[str, int], pool_rows: int, origin: Origin, sharpness: float
) -> Callable[[int], SyntheticTask]:
    return partial(make_task, schema, sizes, pool_rows, origin, sharpness)


SHAPES: Final = {
    "heart_disease": Shape(
        schema=heart_disease.SCHEMA,
        sizes=dict(heart_disease.DECLARED_SIZES),
        task=_hospitals(heart_disease.SCHEMA, heart_disease.DECLARED_SIZES, 0, Origin.COLUMNS, 2.5),
        architecture=Linear(),
        epsilon=1.0,
        delta=1e-4,
        private=grid((5, 10, 20, 40), (0.5, 1.0, 2.0, 4.0), (0.25, 0.5, 1.0, 2.0)),
        plain=grid((20, 50, 100, 200), (0.25, 0.5, 1.0, 2.0), (None,)),
    ),
    # Noise in shares at a small ε: four sites, one of which gives its share away.
    "heart_disease_shared": Shape(
        schema=heart_disease.SCHEMA,
        sizes=dict(heart_disease.DECLARED_SIZES),
        task=_hospitals(heart_disease.SCHEMA, heart_disease.DECLARED_SIZES, 0, Origin.COLUMNS, 2.5),
        architecture=Linear(),
        epsilon=0.1,
        delta=1e-4,
        private=grid((2, 5, 10, 20, 40), (1.0, 2.0, 4.0, 8.0), (0.0625, 0.125, 0.25, 0.5, 1.0)),
        plain=(),
        shares=3,
    ),
    # The division of this domain is ours and by label, so here the label comes first.
    "hospitals": Shape(
        schema=hospitals.SCHEMA,
        sizes=dict(hospitals.DECLARED_SIZES),
        task=_hospitals(hospitals.SCHEMA, hospitals.DECLARED_SIZES, 50, Origin.LABEL, 3.5),
        architecture=Tabular(),
        epsilon=1.0,
        delta=1e-4,
        private=grid((5, 10, 20, 40), (0.125, 0.25, 0.5, 1.0, 2.0, 4.0), (0.5, 1.0, 2.0)),
        plain=grid((20, 50, 100), (0.25, 0.5, 1.0, 2.0), (None,)),
    ),
    "fleets": Shape(
        schema=fleets.SCHEMA,
        sizes=fleets.Fleets().declared_sizes,
        task=make_fleets,
        architecture=Linear(),
        epsilon=1.0,
        delta=1e-4,
        private=grid((20, 40, 80, 160), (0.125, 0.25, 0.5, 1.0, 2.0), (0.0625, 0.125, 0.25)),
        plain=grid((100, 200, 400), (0.02, 0.04, 0.08), (None,)),
        target=fleets.TARGET,
        tasks=12,
    ),
}
