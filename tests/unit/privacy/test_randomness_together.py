"""Drawing for several sites at once gives each what it draws alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.privacy.randomness import Stream, normals_of


def streams(number):
    return [Stream.seeded(3, f"site {k}", 1, "noise") for k in range(number)]


@settings(max_examples=30, deadline=None)
@given(number=st.integers(1, 9), n=st.one_of(st.integers(0, 9), st.integers(4_000, 12_000)))
def test_each_stream_gives_its_own_numbers(number, n):
    together = normals_of(streams(number), n)
    assert together.shape == (number, n)
    for drawn, stream in zip(together, streams(number), strict=True):
        assert torch.equal(drawn, stream.normals(n))


@pytest.mark.parametrize("n", [2**15 - 1, 2**15, 2**15 + 1, 70_001])
def test_and_over_several_passes(n):
    together, alone = normals_of(streams(2), n), [stream.normals(n) for stream in streams(2)]
    assert torch.equal(together, torch.stack(alone))


def test_streams_go_on_where_they_were():
    both = streams(2)
    normals_of(both, 11)
    again = streams(2)
    for stream in again:
        stream.normals(11)
    assert torch.equal(normals_of(both, 5), torch.stack([stream.normals(5) for stream in again]))
