"""A configuration cannot make a listener an open relay, and is told of networks that are wider than one's own."""

import random
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ingress.config import Ingress
from ingress.listen.networks import Network, all_clients, too_wide
from ingress.policy.relay import is_in
from jetpost.config.load import ConfigurationError, check, configuration_model

BUT_ONE_PRIVATE = [str(it) for it in IPv4Network("0.0.0.0/0").address_exclude(IPv4Network("10.0.0.0/8"))]
BUT_ONE_PUBLIC = [str(it) for it in IPv4Network("0.0.0.0/0").address_exclude(IPv4Network("9.9.9.0/24"))]


def listener(**terms: Any) -> dict[str, Any]:
    return {"listeners": [{"name": "relay", "port": 25, **terms}], "postmaster": "a@b.test"}


def problems(ingress: dict[str, Any]) -> list[str]:
    try:
        check(yaml.safe_dump({"ingress": ingress}), {}, configuration_model(["ingress"]), name="x")
    except ConfigurationError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    "networks",
    [
        ["0.0.0.0/0"],
        ["0.0.0.0/0.0.0.0"],
        ["::/0"],
        ["10.0.0.0/8", "::/0"],
        ["::ffff:0:0/96"],
        ["::ffff:0.0.0.0/96"],
        ["64:ff9b::/96"],
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["::ffff:0:0/97", "128.0.0.0/1"],
        ["::/1", "8000::/1"],
        ["2000::/3"],
        ["2000::/4", "3000::/4"],
        ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"],
        [f"{first}.0.0.0/8" for first in range(1, 224)],
        BUT_ONE_PRIVATE,
    ],
    ids=lambda networks: " ".join(networks)[:40],
)
def test_networks_that_have_everybody_are_refused(networks: list[str]) -> None:
    (problem,) = problems(listener(relay_networks=networks))

    assert "ingress.listeners.0 (relay).relay_networks: " in problem
    assert "could send mail to anybody without AUTH, which is an open relay; name your own clients' networks" in problem
    assert len(problem) < 500


@pytest.mark.parametrize(
    ("networks", "wide"),
    [
        ([], []),
        (["127.0.0.0/8", "::1/128"], []),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"], []),
        (["0.0.0.0/32", "::/128"], []),
        (["17.0.0.0/8", "2001::/16"], []),
        (["16.0.0.0/7"], ["16.0.0.0/7"]),
        (["16.0.0.0/8", "17.0.0.0/8"], ["16.0.0.0/7"]),
        (["::ffff:16.0.0.0/103"], ["16.0.0.0/7"]),
        (["2000::/15"], ["2000::/15"]),
        (["0.0.0.0/1"], ["0.0.0.0/1"]),
        (["224.0.0.0/4"], []),
    ],
    ids=str,
)
def test_networks_wider_than_ones_own_are_told(networks: list[str], wide: list[str]) -> None:
    for key, does in (("relay_networks", "may send mail to anybody"), ("proxy_protocol_from", "may name any address")):
        remarks = Ingress.model_validate(listener(**{key: networks})).remarks()

        assert len(remarks) == bool(wide)
        for remark in remarks:
            assert f"listener relay: {key} has {', '.join(wide)}: many clients that are not yours {does}" in remark


def test_a_list_that_lacks_one_public_network_is_told_and_not_refused() -> None:
    assert problems(listener(relay_networks=BUT_ONE_PUBLIC)) == []
    (remark,) = Ingress.model_validate(listener(relay_networks=BUT_ONE_PUBLIC)).remarks()
    assert len(remark) < 500


def test_nobody_may_claim_to_be_of_a_listed_network() -> None:
    everybody = ["0.0.0.0/1", "128.0.0.0/1"]

    (problem,) = problems(listener(relay_networks=["10.0.0.0/8"], proxy_protocol_from=everybody))
    assert "anybody could name an address of `relay_networks` in a PROXY header, which is an open relay" in problem
    assert problems(listener(proxy_protocol_from=everybody)) == []


def test_a_mapped_network_has_the_clients_that_it_stands_for() -> None:
    networks = Ingress.model_validate(listener(relay_networks=["::ffff:192.0.2.0/120"])).listeners[0].relay_networks

    assert is_in("192.0.2.7", networks)
    assert is_in("::ffff:192.0.2.7", networks)
    assert not is_in("192.0.3.7", networks)


def _networks() -> st.SearchStrategy[list[Network]]:
    prefix = st.integers(1, 4)
    return st.lists(st.builds(_network, prefix, st.integers(0, 15)), max_size=16)


def _network(prefix: int, number: int) -> Network:
    return ip_network((int(IPv4Address(0)) | (number >> (4 - prefix)) << (32 - prefix), prefix))


@given(_networks())
def test_who_is_left_out_is_a_public_client_or_nobody(networks: list[Network]) -> None:
    """Blocks of a sixteenth of all addresses: each public one is listed, or the list is no open relay."""
    public = [f"{16 * number + 8}.8.8.8" for number in range(14)]
    has_all = all(is_in(address, tuple(networks)) for address in public)

    assert bool(all_clients(networks)) == has_all
    covered = too_wide(networks)
    chance = random.Random(0)
    for _ in range(20):
        address = ip_address(chance.randrange(2**24, 224 * 2**24))
        assert is_in(str(address), tuple(networks)) == any(address in it for it in covered)
