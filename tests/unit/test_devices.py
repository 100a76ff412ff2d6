"""Where gradients are computed: a device that is refused changes nothing, a GPU is set up."""

import os

import pytest
import torch

from tacit import devices
from tacit.devices import compute_of
from tacit.errors import ConfigurationError
from tacit.settings import EngineKind, EngineSettings, Precision


@pytest.fixture
def flags(monkeypatch):
    """Gives how torch is set, and brings all of it back."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cuda = torch.backends.cuda
    before = torch.backends.cudnn.allow_tf32, cuda.flash_sdp_enabled()

    def now():
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.allow_tf32,
            cuda.flash_sdp_enabled(),
            "CUBLAS_WORKSPACE_CONFIG" in os.environ,
        )

    yield now
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = before[0]
    for enable in (
        cuda.enable_flash_sdp,
        cuda.enable_mem_efficient_sdp,
        cuda.enable_cudnn_sdp,
    ):
        enable(before[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_changes_nothing(flags):
    before = flags()
    with pytest.raises(ConfigurationError, match=r"engine\.device='cuda' cannot be used here"):
        compute_of(EngineSettings(EngineKind.LOOP, device="cuda"))
    compute_of(EngineSettings(EngineKind.LOOP, device="cpu"))
    assert flags() == before


def test_a_gpu_gives_the_same_bits_and_fp32_where_it_is_said(flags, monkeypatch):
    monkeypatch.setattr(devices.torch, "zeros", lambda *shape, device: None)
    found = compute_of(EngineSettings(EngineKind.LOOP, device="cuda", precision=Precision.BF16))
    assert (found.device.type, found.precision) == ("cuda", torch.bfloat16)
    assert flags() == (True, False, False, True)
