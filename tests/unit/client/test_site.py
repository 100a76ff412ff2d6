"""Charge, then release: on disk before data is touched, once for each reply, never given back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from site_example import (
    ROUND,
    ROWS,
    WatchedRows,
    app_of,
    ask,
    bodies,
    kinds,
    make_site,
    open_ledger,
    payload,
    steps_spent,
    zero_weights,
)

import client.task
from client import door
from client.site import Admitted, admit, learn, seeded_streams, system_streams
from tacit.messages import LEDGER
from tacit.privacy.book import Charge
from tacit.privacy.ledger import Ledger
from tacit.privacy.policy import Reason
from tacit.privacy.randomness import Stream


def charged_at_every_touch(tmp_path, ledger):
    rows = WatchedRows(tmp_path / "north.sqlite")
    app_of(make_site(ledger, data=rows))(ask())
    assert len(rows.seen) >= 3 * ROUND.steps
    return all(seen[-1] == "charged" for seen in rows.seen)


def test_the_charge_is_on_disk_before_data_is_touched(tmp_path, ledger):
    assert charged_at_every_touch(tmp_path, ledger)


def test_data_touched_before_the_charge_is_seen(tmp_path, ledger, monkeypatch):
    honest = Ledger.charge
    late = []

    def postponed(ledger, *arguments):
        late.append(arguments)
        return Charge(3, *arguments[:3], repeat=False)

    def release(site, message, admitted, weights):
        leaving = door.Release(weights, honest(ledger, *late.pop()), ledger.receipt())
        return door.release(ledger, message, leaving)

    monkeypatch.setattr(Ledger, "charge", postponed)
    monkeypatch.setattr("client.app.release", release)
    assert not charged_at_every_touch(tmp_path, ledger)


def test_admitting_touches_no_data(tmp_path, ledger):
    rows = WatchedRows(tmp_path / "north.sqlite")
    assert isinstance(admit(make_site(ledger, data=rows), ask()), Admitted)
    assert rows.seen == []


@pytest.mark.parametrize("seed", [None, 5])
def test_a_repeated_message_gets_the_stored_reply(ledger, monkeypatch, seed):
    site = make_site(ledger, seed=seed)
    app = app_of(site)
    first = app(ask())
    rows = len(ledger.rows())
    monkeypatch.setattr(client.task, "train_round", lambda *a, **k: pytest.fail("trained again"))
    # The coordinator may have learnt a receipt since: it asks the same all the same.
    second = app(ask(receipt=ledger.receipt()))
    assert payload(second) == payload(first)
    assert dict(second.content[LEDGER]) == dict(first.content[LEDGER])
    assert len(ledger.rows()) == rows


@pytest.mark.parametrize("seed", [None, 5])
def test_a_crash_between_charge_and_reply(tmp_path, seed):
    with open_ledger(tmp_path) as ledger:
        site = make_site(ledger, seed=seed)
        lost = learn(site, admit(site, ask()))
    with open_ledger(tmp_path) as ledger:
        site = make_site(ledger, seed=seed)
        admitted = admit(site, ask())
        again = learn(site, admitted)
        assert kinds(ledger) == ["opened", "reserved", "charged", "charged"]
        assert admitted.charge.repeat == (seed is not None)
        # Fresh noise is a second release; the same noise on the same question is the first again.
        assert steps_spent(ledger) == ROUND.steps * (2 if seed is None else 1)
        assert math.isinf(ledger.standing().pld) == (seed is not None)
        same = all(lost[name].tobytes() == again[name].tobytes() for name in lost)
        assert same == (seed is not None)


def learn_over_a_crash(tmp_path, streams):
    """A round, a crash, and the round again, with streams opened anew."""
    for _ in range(2):
        with open_ledger(tmp_path) as ledger:
            site = replace(make_site(ledger), streams=streams())
            learn(site, admit(site, ask()))


def test_no_noise_is_used_twice_over_a_crash(tmp_path, stream_keys):
    learn_over_a_crash(tmp_path, system_streams)
    assert len(stream_keys) == 6
    assert len(set(stream_keys)) == 6
    kept = [path.read_bytes() for path in tmp_path.iterdir()]
    assert not any(key in content for key in stream_keys for content in kept)


def test_noise_used_twice_over_a_crash_is_seen(tmp_path, stream_keys):
    learn_over_a_crash(tmp_path, lambda: seeded_streams(0, "north"))
    assert len(set(stream_keys)) == 3


class Interrupting:
    """A stream that stops the process from outside at its n-th draw."""

    def __init__(self, stop, at):
        self._stream = Stream.from_system()
        self._stop, self._at, self._draws = stop, at, 0

    def _draw(self):
        self._draws += 1
        if self._draws == self._at:
            raise self._stop

    def coins(self, n, rate):
        self._draw()
        return self._stream.coins(n, rate)

    def normals(self, n):
        self._draw()
        return self._stream.normals(n)


def interrupted(site, stop, purpose, at):
    streams = system_streams()
    return replace(
        site,
        streams=lambda number, asked: (
            Interrupting(stop, at) if asked == purpose else streams(number, asked)
        ),
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize(
    ("purpose", "at", "begun"),
    [
        ("noise", 1, 1),  # the end of the first step, before the second
        ("coins", 2, 2),  # the second has begun: it may have seen data
        ("noise", 2, 2),
    ],
)
def test_a_stop_from_outside_settles_to_the_steps_begun(ledger, stop, purpose, at, begun):
    site = interrupted(make_site(ledger), stop, purpose, at)
    with pytest.raises(type(stop)):
        app_of(site)(ask())
    assert bodies(ledger)[-1] == {"charge": 3, "steps_begun": begun} | {
        key: bodies(ledger)[-1][key] for key in ("at", "kind")
    }
    assert kinds(ledger)[-1] == "settled"
    assert steps_spent(ledger) == begun


def test_a_stop_in_the_last_step_settles_nothing(ledger):
    site = interrupted(make_site(ledger), KeyboardInterrupt(), "coins", ROUND.steps)
    with pytest.raises(KeyboardInterrupt):
        app_of(site)(ask())
    assert kinds(ledger) == ["opened", "reserved", "charged"]


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("a row"), ValueError("a row"), MemoryError(), IndexError("a row"), KeyError(7)],
)
def test_nothing_is_settled_for_what_may_depend_on_data(ledger, fault):
    site = interrupted(make_site(ledger), fault, "coins", 2)
    assert app_of(site)(ask()).error.reason == Reason.NOT_AVAILABLE
    assert kinds(ledger) == ["opened", "reserved", "charged"]


def test_nothing_is_settled_once_the_reply_is_stored(ledger, monkeypatch):
    def stop(message, packed):
        raise KeyboardInterrupt

    site = make_site(ledger)
    with monkeypatch.context() as patched:
        patched.setattr(door, "replay", stop)
        with pytest.raises(KeyboardInterrupt):
            app_of(site)(ask())
    assert kinds(ledger)[-2:] == ["charged", "replied"]
    # The reply was paid for and never left: the same request gets it.
    assert app_of(site)(ask()).has_content()
    assert steps_spent(ledger) == ROUND.steps


def test_the_round_is_computed_as_asked(ledger):
    """With predictable noise a site's weights follow from request, rows and seed alone."""
    site = make_site(ledger, seed=5)
    weights = zero_weights() | {"head.bias": np.array([0.5, -0.5], np.float32)}
    admitted = admit(site, ask(round=2, weights=weights))
    learnt = learn(site, admitted)
    streams = seeded_streams(5, "north")
    coins, noise = streams(2, "coins"), streams(2, "noise")
    w = torch.zeros(2, 3, dtype=torch.float64)
    b = torch.tensor([0.5, -0.5], dtype=torch.float64)
    for _ in range(ROUND.steps):
        drawn = coins.coins(len(ROWS), ROUND.sampling_rate)
        x = ROWS.features[drawn].double()
        error = torch.softmax(x @ w.T + b, 1) - torch.eye(2)[ROWS.targets[drawn]].double()
        per_row = torch.cat([(error[:, :, None] * x[:, None, :]).flatten(1), error], 1)
        clipped = per_row / per_row.norm(dim=1, keepdim=True).clamp(min=ROUND.clipping_norm)
        deviation = ROUND.noise_multiplier * ROUND.clipping_norm
        total = clipped.sum(0) + deviation * noise.normals(8).double()
        step = ROUND.learning_rate / ROUND.divisor * total
        w, b = w - step[:6].reshape(2, 3), b - step[6:]
    # Three steps in fp32 on numbers of at most 10: a few units of 2**-24 each.
    np.testing.assert_allclose(learnt["head.weight"], w.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(learnt["head.bias"], b.numpy(), rtol=1e-5, atol=1e-5)
