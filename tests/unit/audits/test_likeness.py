"""How like a record a rebuilt one is, against an independent program and by hand."""

import numpy as np
import pytest

from audits.likeness import MOST, correlation, psnr, ssim


def image(shape, phase):
    down, across = np.indices(shape)
    return (1 + np.sin(0.5 * down + phase) * np.cos(0.3 * across)) / 2


@pytest.mark.parametrize(
    ("rebuilt", "original", "value"),
    [
        # scikit-image 0.26.0, skimage.metrics.structural_similarity with gaussian_weights=True,
        # sigma=1.5, use_sample_covariance=False and data_range=1: the settings of Wang et al. 2004.
        (image((28, 28), 0), image((28, 28), 0.7), 0.7155902975853373),
        (image((28, 28), 0) / 2 + 0.3, image((28, 28), 0), 0.7778361542632484),
        (image((20, 24), 0), image((20, 24), 2), -0.358512681825889),
    ],
)
def test_structural_similarity_is_that_of_another_program(rebuilt, original, value):
    assert ssim(rebuilt, original, 1.0) == pytest.approx(value, abs=1e-9)


def test_structural_similarity_of_an_image_smaller_than_the_window():
    small = image((8, 8), 0)
    assert ssim(small, small, 1.0) == pytest.approx(1)
    assert ssim(image((8, 8), 2), small, 1.0) < 0.5


def test_decibels():
    zero = np.zeros(10)
    assert psnr(zero + 0.1, zero, 1.0) == pytest.approx(20)
    assert psnr(zero + 0.1, zero, 10.0) == pytest.approx(40)
    assert psnr(zero, zero, 1.0) == psnr(zero + 1e-9, zero, 1.0) == MOST


def test_correlation_does_not_depend_on_scale():
    row = np.array([1.0, 2.0, 4.0, -3.0])
    assert correlation(5 - 2 * row, row) == pytest.approx(-1)
    assert correlation(np.ones(4), row) == 0
