"""The example `site.yaml`: read by the site as it stands, with a word about every key."""

from dataclasses import fields

import pytest
import yaml

from client.site_file import SiteFile, SiteLimits, read_site_file
from server.provision_template import site_yaml

TEXT = site_yaml("county", "coordinator.example")


def test_the_site_reads_it_as_it_stands(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(TEXT, encoding="utf-8")
    found = read_site_file(path)
    assert (found.name, found.address) == ("county", "coordinator.example:9443")
    assert (found.bundle, found.ledger) == (tmp_path, tmp_path / "ledger")
    assert found.experiment == ("domain=hospitals",)
    assert not found.test_data
    assert found.noise_seed is None
    assert (found.limits.models, found.limits.strategies) == ("any", "any")


def test_it_names_every_key_that_a_site_may_set():
    found = yaml.safe_load(TEXT)
    assert set(found) == {field.name for field in fields(SiteFile)}
    assert set(found["limits"]) == {field.name for field in fields(SiteLimits)}


@pytest.mark.parametrize(
    "key", sorted({field.name for field in (*fields(SiteFile), *fields(SiteLimits))} - {"limits"})
)
def test_every_key_has_a_comment_above_it(key):
    lines = TEXT.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.strip().startswith(f"{key}:")]
    assert lines[at - 1].strip().startswith("# ")


def test_lines_fit_a_page():
    assert max(map(len, TEXT.splitlines())) <= 100


def test_an_address_of_ipv6_can_be_reached():
    assert "server: https://[2001:db8::1]:9443\n" in site_yaml("county", "[2001:db8::1]")
