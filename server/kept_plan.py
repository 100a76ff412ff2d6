"""A deployed run's plan on disk: what each site was asked to set aside, over restarts."""

import json
from pathlib import Path
from typing import Final

from server.run_plan import RunPlan
from tacit.errors import ConfigurationError, RunDirectoryError
from tacit.files import replace_file
from tacit.messages import RunRequest

PLAN: Final = "plan.json"
FORMAT: Final = "tacit/plan/1"


def write_plan(path: Path, plan: RunPlan) -> None:
    """Write a plan: each site's request as it was sent, and the public sizes."""
    requests = {
        site: RunRequest(
            plan.run, plan.rounds, plan.terms, each, plan.epsilons[site], plan.delta
        ).to_config()
        for site, each in plan.sites.items()
    }
    fields = {
        "format": FORMAT,
        "sites": requests,
        "declared_sizes": dict(plan.declared_sizes),
        "min_replies": plan.min_replies,
        "summed": None if plan.summed is None else sorted(plan.summed),
    }
    replace_file(path, json.dumps(fields, indent=2).encode())


def kept_cohort(path: Path) -> frozenset[str] | None:
    """Read between which sites a run sums; None where it does not, or no site has joined yet.

    Raises
    ------
    RunDirectoryError
        The file is damaged.
    """
    try:
        named = json.loads(path.read_bytes())["summed"]
        return None if named is None else frozenset(map(str, named))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{path}: is damaged: {error!r}") from error


def read_plan(path: Path) -> RunPlan | None:
    """Read a plan; None where no site has joined yet.

    Raises
    ------
    RunDirectoryError
        The file is damaged.
    """
    try:
        fields = json.loads(path.read_bytes())
        if fields["format"] != FORMAT:
            raise RunDirectoryError(f"{path}: has the format {fields['format']!r}, not {FORMAT!r}")
        asked = {site: RunRequest.from_config(found) for site, found in fields["sites"].items()}
        first = next(iter(asked.values()))
        return RunPlan(
            run=first.run,
            rounds=first.rounds,
            terms=first.terms,
            sites={site: request.plan for site, request in asked.items()},
            declared_sizes={site: int(fields["declared_sizes"][site]) for site in asked},
            epsilons={site: request.epsilon for site, request in asked.items()},
            delta=first.delta,
            min_replies=int(fields["min_replies"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, StopIteration, ConfigurationError) as error:
        raise RunDirectoryError(f"{path}: is damaged: {error!r}") from error
