"""Names and addresses of a coordinator, as people type them."""

import pytest

from tacit.errors import ConfigurationError
from tacit.trust.hosts import Hosts


def test_names_and_addresses_are_read_once_each():
    hosts = Hosts.parse(["Coordinator.Example", "a", "a"], ["192.0.2.1", "2001:db8::1"])
    assert hosts.names == ("coordinator.example", "a")
    assert str(hosts) == "coordinator.example, a, 192.0.2.1, 2001:db8::1"


@pytest.mark.parametrize(
    ("names", "addresses", "first"),
    [
        (["a.example"], ["192.0.2.1"], "a.example"),
        ([], ["192.0.2.1"], "192.0.2.1"),
        ([], ["2001:db8::1"], "[2001:db8::1]"),
    ],
)
def test_the_first_stands_in_an_https_address(names, addresses, first):
    assert Hosts.parse(names, addresses).first == first


@pytest.mark.parametrize(
    ("names", "addresses", "says"),
    [
        ([], [], "--name coordinator.example"),
        (["https://a.example"], [], "--name https://a.example"),
        (["a.example:9443"], [], "port"),
        (["*.example"], [], "--name *.example"),
        (["a_b.example"], [], "a_b"),
        (["a..example"], [], "a..example"),
        (["a.example\n"], [], "machine"),
        (["x" * 64], [], "machine"),
        ([".".join(["x" * 60] * 5)], [], "machine"),
        (["192.0.2.1"], [], "--address 192.0.2.1"),
        ([], ["a.example"], "--name"),
        ([], ["192.0.2.1:9443"], "192.0.2.1:9443"),
        ([], ["192.0.2.0/24"], "192.0.2.0/24"),
    ],
)
def test_what_is_neither_is_refused_with_the_value(names, addresses, says):
    with pytest.raises(ConfigurationError) as caught:
        Hosts.parse(names, addresses)
    assert says in str(caught.value)
