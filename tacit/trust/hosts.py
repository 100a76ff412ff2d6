"""The names and addresses under which a coordinator is reached."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509

from tacit.errors import ConfigurationError

_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a server's certificate is made out to; at least one name or address."""

    names: tuple[str, ...]
    addresses: tuple[IPv4Address | IPv6Address, ...]

    @staticmethod
    def parse(names: Sequence[str], addresses: Sequence[str]) -> "Hosts":
        """Read names and addresses as a person types them.

        Raises
        ------
        ConfigurationError
            One is malformed, or there is none.
        """
        if not names and not addresses:
            raise ConfigurationError(
                "no name and no address: say where sites reach the coordinator: "
                "--name coordinator.example, --address 192.0.2.1"
            )
        return Hosts(
            tuple(dict.fromkeys(_name(name) for name in names)),
            tuple(dict.fromkeys(_address(address) for address in addresses)),
        )

    @staticmethod
    def of(certificate: x509.Certificate) -> "Hosts":
        """Return those of a server's certificate."""
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return Hosts(
            tuple(names.get_values_for_type(x509.DNSName)),
            tuple(map(_address, map(str, names.get_values_for_type(x509.IPAddress)))),
        )

    @property
    def first(self) -> str:
        """The first name, or else the first address, as it stands in an https address."""
        if self.names:
            return self.names[0]
        address = self.addresses[0]
        return f"[{address}]" if isinstance(address, IPv6Address) else str(address)

    def __str__(self) -> str:
        return ", ".join([*self.names, *map(str, self.addresses)])


def _name(text: str) -> str:
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"--name {text}: is not the name of a machine: write it as in coordinator.example, "
            "without https:// and port"
        )
    try:
        ip_address(name)
    except ValueError:
        return name
    raise ConfigurationError(f"--name {text}: is an address: write --address {text}")


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise ConfigurationError(
            f"--address {text}: is not an IP address; a name is given by --name"
        ) from error
