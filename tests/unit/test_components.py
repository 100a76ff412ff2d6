"""Classes named by a configuration."""

from datetime import timedelta

import pytest

from tacit.components import make
from tacit.errors import ConfigurationError
from tacit.models.tabular import Tabular
from tacit.settings import Component


def test_a_class_is_made_with_its_options():
    made = make("model.architecture", Component("x", "tacit.models.tabular.Tabular", {"hidden": 9}))
    assert isinstance(made, Tabular)
    assert (made.hidden, made.embedding) == (9, Tabular().embedding)


def test_anybodys_class_will_do_and_options_win_over_arguments():
    component = Component("x", "datetime.timedelta", {"days": 2})
    assert make("domain", component, days=1, hours=3) == timedelta(days=2, hours=3)


@pytest.mark.parametrize(
    "target", ["tacit.models.tabular.Nothing", "no.such.module.Thing", "Alone", "", "tacit..x.Y"]
)
def test_what_cannot_be_imported_is_named(target):
    with pytest.raises(ConfigurationError, match="cannot be imported") as caught:
        make("domain", Component("x", target))
    assert str(caught.value).startswith(f"domain._target_={target}: ")


@pytest.mark.parametrize(
    ("target", "options"),
    [("tacit.models.tabular.Tabular", {"depth": 3}), ("tacit.models.linear.__doc__", {})],
)
def test_options_that_do_not_fit_are_named(target, options):
    with pytest.raises(ConfigurationError, match="does not take these options") as caught:
        make("model.architecture", Component("x", target, options))
    assert str(caught.value).startswith("model.architecture: ")
    assert all(key in str(caught.value) for key in options)
