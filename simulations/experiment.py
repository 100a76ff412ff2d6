"""An experiment made ready: data checked, model built, every site's plan fixed; nothing spent."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from server.rounds import RunPlan
from simulations.evaluation import Measured, measure, predict
from simulations.pretrain_model import SharedModel, shared_model
from strategies.build import build_strategy, by_itself, proximal_mu
from strategies.limits import check_run
from tacit.components import make
from tacit.domains.domain import Card, Domain, Examples, SiteData, check_sites
from tacit.errors import ConfigurationError
from tacit.learning.local import Compute
from tacit.learning.plan import RoundPlan
from tacit.models.compatibility import check_private
from tacit.models.trainable import (
    Weights,
    choose_trainable,
    load_trainable,
    trainable_weights,
)
from tacit.models.weights import state_arrays
from tacit.privacy.calibration import noise_multiplier
from tacit.settings import (
    Component,
    EngineSettings,
    NoiseSource,
    NoPrivacy,
    Precision,
    RecordPrivacy,
    Settings,
    Training,
)

_DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}


@dataclass(frozen=True, slots=True)
class Experiment:
    """What every training of a run shares: the run itself and the baselines beside it."""

    settings: Settings
    card: Card
    data: Mapping[str, SiteData]
    declared_sizes: Mapping[str, int]
    shared: SharedModel
    model_sha256: str
    compute: Compute
    cache: Path


@dataclass(frozen=True, slots=True)
class Arm:
    """One training: the run itself, or a baseline beside it.

    Parameters
    ----------
    key
        Name; also part of what seeds its noise, so that no two arms share any.
    rows
        Training rows of each site that takes part.
    declared_sizes
        Public size of each.
    training, privacy
        How.
    """

    key: str
    rows: Mapping[str, Examples]
    declared_sizes: Mapping[str, int]
    training: Training
    privacy: RecordPrivacy | NoPrivacy


def prepare(
    settings: Settings, on_pretraining: Callable[[int, float], None] = lambda step, loss: None
) -> Experiment:
    """Read and check everything a run needs.

    Parameters
    ----------
    settings
        The experiment.
    on_pretraining
        Called after each step of pretraining, where there is any to do, with its loss.

    Raises
    ------
    InputError
        Configuration, data, model or weights cannot be used; nothing was spent.
    """
    torch.set_num_threads(settings.engine.threads)
    cache = _usable(Path(settings.cache) if settings.cache else default_cache())
    domain: Domain = make("domain", settings.domain)
    sizes = dict(sorted(domain.declared_sizes.items()))
    check_sizes(sizes, settings)
    data = dict(sorted(domain.load().items()))
    check_sites(data, domain.card)
    inputs = tuple(next(iter(data.values())).train.features.shape[1:])
    compute = _compute(settings.engine)
    # Every training makes its own; here it is only checked.
    check_run(build_strategy(settings.strategy), settings, len(sizes))
    shared = shared_model(
        settings.model,
        make("model.architecture", settings.model.architecture),
        domain,
        inputs,
        settings.seed,
        cache,
        on_pretraining,
    )
    choose_trainable(shared.module, settings.model.train)
    shared.module.to(compute.device)
    if isinstance(settings.privacy, RecordPrivacy):
        check_private(shared.module, inputs)
    return Experiment(
        settings,
        domain.card,
        data,
        sizes,
        shared,
        _frozen_sha256(settings, shared),
        compute,
        cache,
    )


def only(experiment: Experiment, sites: Collection[str]) -> Experiment:
    """Return the experiment with some of its sites."""
    return replace(
        experiment,
        data={site: held for site, held in experiment.data.items() if site in sites},
        declared_sizes={
            site: size for site, size in experiment.declared_sizes.items() if site in sites
        },
    )


def main_arm(experiment: Experiment) -> Arm:
    """Return the run itself."""
    settings = experiment.settings
    return Arm(
        "",
        {site: held.train for site, held in experiment.data.items()},
        experiment.declared_sizes,
        settings.training,
        settings.privacy,
    )


def strategy_of(arm: Arm, experiment: Experiment) -> Component:
    """Return the strategy of a training: the run's, or what is left of it for one site alone."""
    chosen = experiment.settings.strategy
    return by_itself(chosen) if arm.key and len(arm.rows) == 1 else chosen


def plan_of(arm: Arm, experiment: Experiment, run: str) -> RunPlan:
    """Fix the whole run: rate, steps, divisor, μ, C and σ of each site's own schedule."""
    mu = proximal_mu(build_strategy(strategy_of(arm, experiment)))
    return RunPlan(
        run=run,
        rounds=arm.training.rounds,
        model=experiment.model_sha256,
        sites={
            site: _round_plan(arm, size, mu, experiment.cache)
            for site, size in sorted(arm.declared_sizes.items())
        },
        declared_sizes=arm.declared_sizes,
        epsilon=arm.privacy.epsilon if isinstance(arm.privacy, RecordPrivacy) else math.inf,
        delta=arm.privacy.delta if isinstance(arm.privacy, RecordPrivacy) else 0.0,
        min_replies=len(arm.rows)
        if arm.training.min_replies == "all"
        else arm.training.min_replies,
    )


def measure_weights(experiment: Experiment, weights: Weights) -> Measured:
    """Measure trainable weights on every site's held-out rows: simulation only."""
    load_trainable(experiment.shared.module, weights)
    card = experiment.card
    predicted = predict(experiment.shared.module, experiment.data, card, experiment.compute.device)
    return measure(predicted, experiment.data, card)


def noise_seed(settings: Settings) -> int | None:
    """Seed of noise and sampling; None where the operating system gives both."""
    if isinstance(settings.privacy, RecordPrivacy):
        chosen = settings.privacy.noise_seed
        if chosen is NoiseSource.SYSTEM:
            return None
        return settings.seed if chosen is None else chosen
    return settings.seed


def default_cache() -> Path:
    """Folder for what can be computed again: the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tacit"


def _usable(cache: Path) -> Path:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError as error:
        raise ConfigurationError(
            f"cache={cache}: cannot be made or written ({error.strerror}): set cache=PATH"
        ) from error


def check_sizes(sizes: Mapping[str, int], settings: Settings) -> None:
    """Refuse declared sizes that cannot be, a δ that is no privacy, and too many replies asked.

    Raises
    ------
    ConfigurationError
        Names the key and the site.
    """
    if not sizes:
        raise ConfigurationError("domain.declared_sizes names no site")
    for site, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ConfigurationError(
                f"domain.declared_sizes.{site}={size}: a site declares at least 1 row"
            )
        privacy = settings.privacy
        if isinstance(privacy, RecordPrivacy) and privacy.delta > 1 / size:
            raise ConfigurationError(
                f"privacy.delta={privacy.delta:g} is larger than one over the declared size of "
                f"{site} ({size}): it would allow one of its records to be published. Use at "
                f"most {1 / (10 * size):.0e}"
            )
    wanted = settings.training.min_replies
    if wanted != "all" and wanted > len(sizes):
        raise ConfigurationError(
            f"training.min_replies={wanted}: there are only {len(sizes)} sites"
        )


def _round_plan(arm: Arm, declared: int, mu: float, cache: Path) -> RoundPlan:
    training = arm.training
    batch = declared if training.batch_size == "full" else min(training.batch_size, declared)
    rate = batch / declared
    plain = RoundPlan(
        training.local_steps, rate, float(batch), training.learning_rate, proximal_mu=mu
    )
    if isinstance(arm.privacy, NoPrivacy):
        return plain
    sigma = noise_multiplier(
        arm.privacy.epsilon,
        arm.privacy.delta,
        rate,
        training.rounds * training.local_steps,
        cache=cache / "noise",
    )
    return replace(
        plain,
        clipping_norm=arm.privacy.clipping_norm,
        noise_multiplier=sigma,
        unit=arm.privacy.unit,
    )


def _compute(engine: EngineSettings) -> Compute:
    name = engine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"engine.device={engine.device!r} cannot be used here "
            f"({str(error).splitlines()[0]}): use auto or cpu"
        ) from error
    if engine.precision is Precision.FP16 and device.type == "cpu":
        raise ConfigurationError(
            "engine.precision=fp16 needs a GPU: use bf16 or fp32 with engine.device=cpu"
        )
    if not math.isfinite(engine.loss_scale):
        raise ConfigurationError(f"engine.loss_scale={engine.loss_scale} must be finite")
    return Compute(device, engine.microbatch, _DTYPES[engine.precision], engine.loss_scale)


def _frozen_sha256(settings: Settings, shared: SharedModel) -> str:
    """Hash all of the model that does not travel."""
    travels = trainable_weights(shared.module)
    digest = hashlib.sha256(
        json.dumps(
            [asdict(settings.model.architecture), settings.model.train.value], sort_keys=True
        ).encode()
    )
    for name, array in sorted(state_arrays(shared.module).items()):
        if name not in travels:
            digest.update(f"{name}:{array.shape};".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
