"""A customer's URL must not lead into our own network."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil import clock
from counterfoil.errors import InvalidError
from counterfoil.webhooks.addresses import Guard, addresses_of, check, guard, is_public, parse
from counterfoil.webhooks.jobs import send_webhooks
from tests.webhooks.conftest import World, event
from tests.webhooks.receiver import Receiver

PRIVATE = [
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
    *("192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1"),
    *("100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "fc00::1", "fd00:ec2::254"),
    *("fe80::1", "fec0::1", "ff02::1", "5f00::1"),
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1", "2400:3200::1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_public_internet_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_the_public_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    # It calls single addresses of 192.0.0.0/24 global; we have no use for them.
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://2130706433/", "http://[::1]:80/"),
        *("http://[::ffff:127.0.0.1]/", "http://localhost/", "http://169.254.169.254/latest/meta-data"),
        *("http://user:secret@example.com/", "http://user@example.com/", "ftp://example.com/", "example.com"),
        *("https:///path", "file:///etc/passwd", "http://example.com:0/", "http://example.com:99999/"),
        *("", "http://", "http://exa mple.com/", "http://example.com/\x00", "https://" + "a" * 3000 + ".com"),
        *("gopher://127.0.0.1/", "http://[::1", "http://\ud800/", "javascript:alert(1)"),
    ],
)
async def test_urls_that_must_not_be_an_endpoints_are_refused(url: str) -> None:
    with pytest.raises(InvalidError) as caught:
        await check(url, guard=Guard())
    assert caught.value.code == "webhook_url_forbidden"
    assert "127.0.0.1" not in caught.value.detail


async def test_a_name_that_nobody_knows_now_is_let_through() -> None:
    await check("https://nothing.invalid/", guard=Guard())


async def test_what_the_setting_names_is_allowed() -> None:
    for allow in ("127.0.0.0/8", "127.0.0.1", " ::1/128 , localhost,127.0.0.1", "localhost,127.1"):
        made = guard(allow)
        host = "localhost" if "localhost" in allow else "127.0.0.1"
        assert await addresses_of(parse(f"http://{host}:8080/"), guard=made)
    with pytest.raises(InvalidError):
        await addresses_of(parse("http://10.0.0.1/"), guard=guard("127.0.0.0/8,localhost"))


async def test_a_host_with_one_private_address_among_public_ones_is_refused() -> None:
    async def both(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "10.0.0.1"]

    with pytest.raises(InvalidError):
        await addresses_of(parse("https://example.com/"), guard=Guard(resolve=both))


async def test_a_name_that_turns_private_after_it_was_checked_is_not_connected_to(
    world: World, receiver: Receiver
) -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]

    async def changing(host: str, port: int) -> list[str]:
        assert host == "hooks.example"
        return answers.pop(0)

    turning = Guard(resolve=changing)
    url = receiver.url("/", host="hooks.example")
    await check(url, guard=turning)
    await world.endpoint(url)
    await world.tell(event())
    await send_webhooks(world.engine, None, guard=turning)
    assert answers == []
    assert receiver.requests == []
    ((state, error),) = await world.all("SELECT state, last_error FROM webhook_deliveries")
    assert state == "waiting"
    assert error == "The host has an address that is not one of the public internet."


async def test_the_connection_goes_to_the_address_that_was_checked_and_names_the_host(
    world: World, receiver: Receiver
) -> None:
    asked = 0

    async def once(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        assert (host, port) == ("hooks.example", receiver.port)
        return ["127.0.0.2", "127.0.0.1"]  # nobody is at the first

    here = guard("127.0.0.0/8")
    await world.endpoint(receiver.url("/", host="hooks.example"))
    await world.tell(event(), now=clock.now())
    await send_webhooks(world.engine, None, guard=Guard(networks=here.networks, resolve=once))
    assert asked == 1
    assert [r.headers["host"] for r in receiver.requests] == [f"hooks.example:{receiver.port}"]
