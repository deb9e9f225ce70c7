"""What may be connected to, and that it is the address connected to which is asked."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from hypothesis import given
from hypothesis import strategies as st

from mogul_assets.destinations.addresses import Gate, NotAllowed, endpoint, networks, public
from mogul_assets_tests.peers.receiver import Receiver

NOT_PUBLIC = {
    "this network": "0.0.0.0/8",
    "private, class A": "10.0.0.0/8",
    "shared by carriers": "100.64.0.0/10",
    "loopback": "127.0.0.0/8",
    "link-local, and the clouds' metadata": "169.254.0.0/16",
    "private, class B": "172.16.0.0/12",
    "protocols": "192.0.0.0/24",
    "documentation": "192.0.2.0/24",
    "documentation, too": "198.51.100.0/24",
    "and once more": "203.0.113.0/24",
    "private, class C": "192.168.0.0/16",
    "measurements": "198.18.0.0/15",
    "multicast": "224.0.0.0/4",
    "reserved, and broadcast": "240.0.0.0/4",
    "none and loopback of IPv6": "::/127",
    "translated within a site": "64:ff9b:1::/48",
    "discarded": "100::/64",
    "documentation of IPv6": "2001:db8::/32",
    "tunnels through NAT": "2001::/32",
    "unique local, and a cloud's metadata": "fc00::/7",
    "link-local of IPv6": "fe80::/10",
    "site-local": "fec0::/10",
    "multicast of IPv6": "ff00::/8",
}


def within(network):
    network = ip_network(network)
    first, last = int(network.network_address), int(network.broadcast_address)
    return st.integers(first, last).map(IPv6Address if network.version == 6 else IPv4Address)


def carried(address):
    """The forms in which IPv6 carries an IPv4 address."""
    number = int(address)
    return [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
        IPv6Address((0x0064_FF9B << 96) | number),
        *([IPv6Address(number)] if number > 1 else []),
    ]


not_public = st.sampled_from(sorted(NOT_PUBLIC.values())).flatmap(within)


@given(not_public)
def test_no_address_of_a_special_range_is_public(address):
    assert not public(str(address))
    with pytest.raises(NotAllowed):
        Gate().socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", (str(address), 80)))


@given(st.sampled_from([name for name in NOT_PUBLIC.values() if ":" not in name]).flatmap(within))
def test_nor_is_one_that_carries_it(address):
    assert not [str(form) for form in carried(address) if public(str(form))]


@given(st.sampled_from(["1.0.0.0/24", "8.8.8.0/24", "93.184.0.0/16", "203.0.114.0/24"]).flatmap(within))
def test_the_rest_of_the_internet_is_public_however_it_is_written(address):
    assert public(str(address))
    assert all(public(str(form)) for form in carried(address))


@given(st.sampled_from(["2606:4700::/32", "2a00:1450::/32"]).flatmap(within))
def test_so_is_that_of_ipv6(address):
    assert public(str(address))


@given(within("10.20.0.0/16"), within("10.21.0.0/16"))
def test_a_range_that_is_named_is_let_in_and_no_other(named, other):
    gate = Gate(networks(["10.20.0.0/16"]))
    assert all(gate.lets(str(form)) for form in (named, *carried(named)))
    assert not any(gate.lets(str(form)) for form in (other, *carried(other)))


def test_what_is_no_range_is_told():
    with pytest.raises(ValueError, match=r"'10\.0\.0\.0/33' is neither an address nor a range"):
        networks(["10.0.0.0/33"])


@pytest.mark.parametrize(
    "url",
    [
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "receiver.example/hook",
        "https://",
        "https:///hook",
        "https://user:s3cret@receiver.example/",
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "https://receiver.example:99999/",
    ],
)
def test_what_is_no_url_to_post_to_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - each says another thing
        endpoint(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://receiver.example/a?b=c", "http://[2606:4700::1]:8080/", "http://192.0.2.1"])
def test_what_is_one_is_taken(url):
    assert endpoint(url).hostname


# Through aiohttp, which is what connects


class Changing(AbstractResolver):
    """A name server that gives another address each time, as one does that wants into the network."""

    def __init__(self, *addresses):
        self.addresses, self.asked = list(addresses), 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        address = self.addresses[min(self.asked, len(self.addresses) - 1)]
        self.asked += 1
        one = {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [one]  # type: ignore[list-item]

    async def close(self):
        pass


def posted(url, gate, resolver=None, times=1):
    """What came of posting there: the status, or the error beneath."""

    async def post():
        connector = aiohttp.TCPConnector(
            socket_factory=gate.socket, resolver=resolver, ttl_dns_cache=0, force_close=True, use_dns_cache=False
        )
        timeout = aiohttp.ClientTimeout(total=5)
        said = []
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            for _ in range(times):
                try:
                    async with session.post(url) as response:
                        said.append(response.status)
                except aiohttp.ClientConnectorError as error:
                    said.append(type(error.os_error))
        return said

    return asyncio.run(post())


def test_a_name_that_is_resolved_anew_to_a_private_address_is_caught():
    with Receiver().running() as receiver:
        changing = Changing("127.0.0.1", "127.0.0.2")
        url = f"http://receiver.example:{receiver.port}/"
        assert posted(url, Gate(networks(["127.0.0.1"])), changing, times=2) == [200, NotAllowed]
        assert len(receiver.taken) == 1


THIS_MACHINE = ["127.0.0.1", "127.0.0.2", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]  # noqa: S104 - never bound to


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_no_way_to_write_this_machine_leads_there(host):
    with Receiver().running() as receiver:
        assert posted(f"http://{host}:{receiver.port}/", Gate()) == [NotAllowed]
        assert not receiver.taken


def test_of_several_addresses_one_that_may_be_is_taken():
    class Both(Changing):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            return [*await super().resolve(host, port), *await super().resolve(host, port)]

    with Receiver().running() as receiver:
        url = f"http://receiver.example:{receiver.port}/"
        assert posted(url, Gate(networks(["127.0.0.1"])), Both("127.0.0.2", "127.0.0.1")) == [200]
        assert posted(url, Gate(), Both("127.0.0.2", "127.0.0.1")) == [NotAllowed]
