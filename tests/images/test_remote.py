"""Remote images: real servers on loopback, names and public addresses that lead to them."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.front.calling import within
from langgraph_speceyes.images import ImagePolicy, aload_image, clear_cache, encoded, load_image, off_loop, remote
from langgraph_speceyes.images.address import is_public, literal
from tests.hostile import remote as hostile
from tests.hostile.remote import BAD, SLOW, refused
from tests.hostile.web import PUBLIC, Connection, Network, Web, authority, serving
from tests.images.pictures import encode, picture
from tests.waiting import PATIENCE_S, auntil, until

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PNG = encode(picture())
POLICY = hostile.POLICY.model_copy(update={"remote_timeout_s": PATIENCE_S})
PUBLIC_ONLY = POLICY.model_copy(update={"allow_private_addresses": False})
SHORT = POLICY.model_copy(update={"remote_timeout_s": 0.3})


def fails(url: str, text: str, policy: ImagePolicy = POLICY) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(url, policy, argument="picture")
    assert caught.value.argument == "picture"
    assert text in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.fixture(autouse=True)
def fresh() -> None:
    clear_cache()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as running:
        running.pages["/a.png"] = lambda one: one.answer(PNG)
        yield running


def network(monkeypatch: pytest.MonkeyPatch, **names: list[list[str]]) -> Network:
    return Network(monkeypatch, {name.replace("_", "."): answers for name, answers in names.items()})


def test_images_are_fetched(web: Web) -> None:
    assert load_image(web.url("/a.png"), POLICY).tobytes() == picture().tobytes()
    assert load_image(web.url("/a.png#xywh=0,0,5,6"), POLICY).size == (5, 6)
    assert len(web.seen) == 1
    assert encoded(web.url("/a.png"), POLICY) == (PNG, "image/png")
    fails(web.url("/a.png"), "allow_remote is off", ImagePolicy())
    # what was loaded from a private address is not shown to whoever may not fetch it
    fails(web.url("/a.png"), "allow_private_addresses is off", PUBLIC_ONLY)
    web.pages["/zipped.png"] = lambda one: one.answer(gzip.compress(PNG), content_encoding="gzip")
    assert load_image(web.url("/zipped.png"), POLICY).size == (40, 30)


@pytest.mark.parametrize("path", SLOW)
def test_the_time_limit_is_in_total(web: Web, path: str) -> None:
    """A hang guard only: how late it is on a machine at rest is what `python -m tests.hostile.remote` says."""
    web.pages.update(SLOW)
    said, seconds = refused(web, path, SHORT)
    assert "in 0.3 s (remote_timeout_s)" in said
    assert seconds < PATIENCE_S


@pytest.mark.parametrize("path", BAD)
def test_servers_that_misbehave(web: Web, path: str) -> None:
    handler, text = BAD[path]
    web.pages[path] = handler
    fails(web.url(path), text, POLICY)


def test_a_resolver_that_does_not_answer_is_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(PATIENCE_S))
    fails("http://host.example/a.png", "0.3 s (remote_timeout_s)", SHORT)
    answered.set()


@pytest.mark.parametrize("port_of", ["nobody listens", "no TLS"])
def test_connections_that_fail(web: Web, port_of: str) -> None:
    if port_of == "no TLS":
        web.pages["/a.png"] = Connection.wait
        fails(web.url("/a.png").replace("http:", "https:"), "", SHORT)
    else:
        web.close()
        fails(web.url("/a.png"), "can be fetched")


NOT_PUBLIC = (
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254"),
    *("100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "ff02::1"),
    *("fec0::1", "::ffff:127.0.0.1", "::ffff:a00:1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1"),
    *(
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "2002:7f00:1::1",
        "2002:c0a8:1::",
        "2001:0:4136:e378::1",
        "2001:db8::1",
    ),
)
ANY_PUBLIC = (PUBLIC, "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")


def test_what_a_public_address_is() -> None:
    assert [one for one in NOT_PUBLIC if is_public(one)] == []
    assert [one for one in ANY_PUBLIC if not is_public(one)] == []


@given(st.ip_addresses(v=4))
def test_no_way_to_write_an_address_inside_another_changes_what_it_is(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    for text in (f"::ffff:{address}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}", f"::{address}"):
        assert is_public(text) == is_public(str(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public_are_not_connected_to(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    found = network(monkeypatch, name_example=[[address]], both_example=[[PUBLIC, address]])
    for host in ("name.example", "both.example"):
        error = fails(f"http://{host}/a.png", "allow_private_addresses is off", PUBLIC_ONLY)
        assert address not in str(error)
    if "%" not in address:
        host = f"[{address}]" if ":" in address else address
        fails(f"http://{host}/a.png", "allow_private_addresses is off", PUBLIC_ONLY)
    assert found.connected == []


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.01", "1.2.3.4.5", "0", "a.0x7f"]
)
def test_addresses_in_other_spellings_are_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    found = network(monkeypatch)
    fails(f"http://{host}/a.png", "an http(s) URL")
    fails(f"http://{host}./a.png", "an http(s) URL")
    assert found.looked_up == []
    assert literal("name.example") is None


def test_a_name_cannot_change_its_address_between_check_and_connection(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = network(monkeypatch, name_example=[[PUBLIC], ["127.0.0.1"]])
    url = web.url("/a.png", "name.example")
    assert load_image(url, PUBLIC_ONLY).size == (40, 30)
    assert found.looked_up == ["name.example"]
    assert found.connected == [PUBLIC]
    assert web.seen[0].headers["host"] == f"name.example:{web.port}"
    clear_cache()
    fails(url, "allow_private_addresses is off", PUBLIC_ONLY)
    assert found.connected == [PUBLIC]


def test_every_redirect_is_checked_anew(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    found = network(
        monkeypatch, a_example=[[PUBLIC], [PUBLIC], ["127.0.0.1"]], inside_example=[["10.0.0.1"]], b_example=[[PUBLIC]]
    )
    targets = {
        "loopback": web.url("/a.png"),
        "mapped": f"http://[::ffff:127.0.0.1]:{web.port}/a.png",
        "name": web.url("/a.png", "inside.example"),
        "changed": web.url("/a.png", "a.example"),
    }
    for name, target in targets.items():
        web.pages[f"/{name}"] = lambda one, target=target: one.answer(status="302 Found", location=target)
    for name in ("loopback", "mapped", "name"):
        fails(web.url(f"/{name}", "b.example"), "allow_private_addresses is off", PUBLIC_ONLY)
    # twice public, and the third time, behind the redirect, it is not
    load_image(web.url("/a.png", "a.example"), PUBLIC_ONLY)
    fails(web.url("/changed", "a.example"), "allow_private_addresses is off", PUBLIC_ONLY)
    assert set(found.connected) == {PUBLIC}
    assert [one.path for one in web.seen] == ["/loopback", "/mapped", "/name", "/a.png", "/changed"]


def test_redirects_carry_nothing_along(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    network(monkeypatch, a_example=[[PUBLIC]], b_example=[[PUBLIC]])
    there = web.url("/a.png", "b.example")
    web.pages["/go"] = lambda one: one.answer(status="302 Found", location=there, set_cookie="id=1; Domain=example")
    assert load_image(web.url("/go?key=secret", "a.example"), PUBLIC_ONLY).size == (40, 30)
    first, second = web.seen
    assert second.headers["host"] == f"b.example:{web.port}"
    assert set(second.headers) == set(first.headers)
    assert not {"cookie", "referer", "authorization", "x-forwarded-for"} & set(second.headers)


def test_hosts_may_be_listed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    found = network(monkeypatch, a_example=[[PUBLIC]], b_a_example=[[PUBLIC]], xa_example=[[PUBLIC]])
    web.pages["/out"] = lambda one: one.answer(status="302 Found", location=web.url("/a.png", "xa.example"))
    listed = ImagePolicy(allow_remote=True, remote_hosts=(".A.example", "127.0.0.1"))
    for host in ("a.example", "b.a.example", "B.A.EXAMPLE"):
        load_image(web.url("/a.png", host), listed)
    looked_up = list(found.looked_up)
    fails(web.url("/a.png", "xa.example"), "remote_hosts", listed)
    assert found.looked_up == looked_up
    fails(web.url("/out", "a.example"), "remote_hosts", listed)
    fails(web.url("/a.png"), "allow_private_addresses", listed)
    # an image in the cache is not for whoever may not fetch it
    load_image(web.url("/a.png", "a.example"), PUBLIC_ONLY)
    fails(web.url("/a.png", "a.example"), "remote_hosts", ImagePolicy(allow_remote=True, remote_hosts=()))
    for wrong in ("https://a.example", "a.example:80", "a/b", "", "*.a.example"):
        with pytest.raises(ValidationError):
            ImagePolicy(remote_hosts=(wrong,))
    both = listed.restricted_by(ImagePolicy(allow_remote=True, remote_hosts=("b.a.example", "c.example")))
    assert both.remote_hosts == ("b.a.example",)
    assert ImagePolicy().restricted_by(listed).remote_hosts == listed.remote_hosts == (".a.example", "127.0.0.1")
    assert not POLICY.restricted_by(PUBLIC_ONLY).allow_private_addresses


def test_credentials_are_refused_and_not_shown(web: Web) -> None:
    error = fails(web.url("/a.png?sig=abcd", "me:hunter2@127.0.0.1"), "without user and password")
    assert "hunter2" not in str(error)
    web.pages["/b"] = lambda one: one.answer(status="403 Forbidden")
    assert "abcd" not in str(fails(web.url("/b?sig=abcd"), "status 403"))
    assert len(web.seen) == 1


def test_proxies_of_the_environment_are_not_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        assert load_image(web.url("/a.png"), POLICY).size == (40, 30)
        assert proxy.seen == []


def test_the_next_address_is_tried(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        taken.close()
        found = network(monkeypatch, a_example=[["127.0.0.1", PUBLIC]])
        connect = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

        async def refusing(loop: object, sock: socket.socket, address: tuple[str, int]) -> None:
            if address[0] == "127.0.0.1":
                found.connected.append(address[0])
                raise ConnectionRefusedError
            await connect(loop, sock, address)

        monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", refusing)
        load_image(web.url("/a.png", "a.example"), POLICY)
    assert found.connected == ["127.0.0.1", PUBLIC]


def test_tls_is_with_the_name_at_the_address_that_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, context = authority(tmp_path, "name.example")
    network(monkeypatch, name_example=[[PUBLIC]], other_example=[[PUBLIC]])
    with serving(context) as web:
        web.pages["/a.png"] = lambda one: one.answer(PNG)
        web.pages["/down"] = lambda one: one.answer(status="302 Found", location="http://name.example/a.png")
        web.pages["/half"] = BAD["/half"][0]
        fails(web.url("/a.png", "name.example"), "CERTIFICATE_VERIFY_FAILED", PUBLIC_ONLY)
        monkeypatch.setenv("SSL_CERT_FILE", os.fspath(file))
        remote._authorities.cache_clear()
        try:
            assert load_image(web.url("/a.png", "name.example"), PUBLIC_ONLY).size == (40, 30)
            assert web.names[-1] == "name.example"
            assert web.seen[-1].headers["host"] == f"name.example:{web.port}"
            fails(web.url("/a.png", "other.example"), "CERTIFICATE_VERIFY_FAILED", PUBLIC_ONLY)
            fails(web.url("/down", "name.example"), "redirects that stay on https", PUBLIC_ONLY)
            fails(web.url("/half", "name.example"), "can be fetched", PUBLIC_ONLY)
        finally:
            remote._authorities.cache_clear()


async def test_a_caller_that_goes_ends_its_fetch_and_no_other(web: Web) -> None:
    """The server sees the connection close, long before the time limit."""
    patient = POLICY.model_copy(update={"remote_timeout_s": 100 * PATIENCE_S})
    web.pages["/wait"] = web.pages["/other"] = Connection.wait
    loading = asyncio.create_task(aload_image(web.url("/wait"), patient))
    other = asyncio.create_task(aload_image(web.url("/other"), patient))
    await auntil(lambda: len(web.seen) == 2)
    mine, theirs = sorted(web.seen, key=lambda one: one.path, reverse=True)
    loading.cancel()
    await auntil(lambda: mine.gone)
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert not theirs.gone
    other.cancel()
    await auntil(lambda: theirs.gone)


def test_a_sync_caller_whose_time_is_over_ends_its_fetch(web: Web) -> None:
    patient = POLICY.model_copy(update={"remote_timeout_s": 100 * PATIENCE_S})
    web.pages["/wait"] = Connection.wait
    with pytest.raises(TimeoutError):
        within(0.3, lambda: load_image(web.url("/wait"), patient))
    until(lambda: all(one.gone for one in web.seen))


async def test_a_caller_that_has_gone_begins_no_fetch(web: Web) -> None:
    begun, going = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        going.wait(PATIENCE_S)
        with pytest.raises(ImageError, match="somebody who waits"):
            load_image(web.url("/a.png"), POLICY)
        ended.set()

    ended = threading.Event()
    task = asyncio.create_task(off_loop(slow))
    await auntil(begun.is_set)
    task.cancel()
    await asyncio.wait({task})
    going.set()
    await auntil(ended.is_set)


def test_fetches_leave_no_thread(web: Web) -> None:
    web.pages["/wait"] = Connection.wait
    for _ in range(3):
        refused(web, "/wait", SHORT)
        load_image(web.url("/a.png"), POLICY)
        clear_cache()
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("speceyes-fetch")])
