"""A process that trains a part of each cohort: see `simulations.workers`."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from client.app import FAULTS
from client.task import Task
from simulations.cohort import streams_of
from simulations.experiment import Arm, Experiment, main_arm, prepare
from simulations.learners import Learner
from simulations.ways import local_learner
from simulations.workers import device_of, each_once, receive, send
from tacit.configuration import read_as
from tacit.learning.plan import RoundPlan
from tacit.models.trainable import Weights
from tacit.runs.encoding import decode
from tacit.settings import Settings


def main() -> None:
    """Answer until the pipe ends."""
    pipe = Connection(int(sys.argv[1]))
    said, _ = receive(pipe)
    settings = read_as(Settings, said["settings"])
    engine = replace(settings.engine, device=device_of(settings.engine.device, said["number"]))
    experiment = prepare(replace(settings, engine=engine))
    arm = main_arm(experiment)
    learner = local_learner(arm, experiment, means=said["means"])
    send(pipe, {"which": []}, {})
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            asked, starts = receive(pipe)
            _answer(
                pipe, learner, [_task(each, arm, experiment, starts) for each in asked["tasks"]]
            )


def _answer(pipe: Connection, learner: Learner, tasks: list[Task]) -> None:
    try:
        learnt = learner.learn(tasks, [0] * len(tasks))
    except FAULTS as error:
        send(pipe, {"error": str(error)}, {})
        return
    which, sets = each_once(learnt)
    send(pipe, {"which": which}, sets)


def _task(
    asked: Mapping[str, Any], arm: Arm, experiment: Experiment, starts: Mapping[int, Weights]
) -> Task:
    site = asked["site"]
    return Task(
        site=site,
        data=arm.rows[site],
        streams=streams_of(arm, experiment, site),
        round=asked["round"],
        plan=decode(RoundPlan, asked["plan"], "plan"),
        weights=starts[asked["start"]],
    )


if __name__ == "__main__":
    main()
