"""Names of requests: what is in them, what never is, and how many there are."""

from __future__ import annotations

import threading

import pytest

from spanloom.events.http_names import MAX_HOSTS, MAX_NAMES, RequestNames, host_of


@pytest.mark.parametrize(
    ("address", "port", "host"),
    [
        ("api.example.com", None, "api.example.com"),
        ("API.Example.COM", 8443, "api.example.com:8443"),
        ("api.example.com.", None, "api.example.com"),
        ("xn--bcher-kva.example", None, "xn--bcher-kva.example"),
        ("my_service-1", 80, "my_service-1:80"),
        ("_dmarc", None, "_dmarc"),
        ("127.0.0.1", 8000, "127.0.0.1:8000"),
        ("::1", 8000, "[::1]:8000"),
        ("2001:DB8:0:0::0001", None, "[2001:db8::1]"),
        ("fe80::1%25eth0", 81, "[fe80::1]:81"),
    ],
)
def test_a_host_is_written_one_way(address: str, port: int | None, host: str) -> None:
    """In lower case, without the dot of the root; IPv6 in brackets, in its shortest form and without a zone."""
    assert host_of(address, port) == host


@pytest.mark.parametrize(
    "address",
    [
        "",
        ".",
        "user:password@example.com",
        "user@example.com",
        "example.com/path",
        "example.com?key=secret",
        "example.com#part",
        "exam\x1b[31mple.com",
        "example.com\n",
        "exam\u202eple.com",
        "b\u00fccher.example",
        "a b",
        "a%20b",
        "-option",
        "a" * 254,
        "1:2:3",
        "[::1]",
    ],
)
def test_what_is_no_host_has_no_name(address: str) -> None:
    """User information, paths, control characters and whatever else a library may hand over get into none."""
    assert host_of(address, None) is None
    assert RequestNames().of("GET", address, None) == ("GET (other hosts)" if address else "GET")


def test_a_name_is_method_and_host() -> None:
    """A method that a program made up is another one; a host that is not known is in no name."""
    names = RequestNames()
    assert names.of("GET", "example.com", None) == "GET example.com"
    assert names.of("BREW", "Example.com", 81) == "HTTP example.com:81"
    assert names.of("POST", None, None) == "POST"


def test_a_name_is_made_once() -> None:
    """The same request has the same string: nobody keeps a copy of it with each event."""
    names = RequestNames()
    assert names.of("GET", "example.com", 81) is names.of("GET", "example.com", 81)


def test_the_hosts_of_a_crawler_share_a_name() -> None:
    """The first hosts keep their names, by any method; all others have one in common, and nothing grows."""
    names = RequestNames()
    hosts = [f"h{number}.example" for number in range(100_000)]
    found = {names.of("GET", host, None) for host in hosts}
    assert found == {f"GET {host}" for host in hosts[:MAX_HOSTS]} | {"GET (other hosts)"}
    assert names.of("POST", hosts[0], None) == f"POST {hosts[0]}"
    assert names.of("POST", hosts[-1], None) == "POST (other hosts)"
    assert (len(names._names), len(names._hosts)) == (MAX_NAMES, MAX_HOSTS)


def test_ports_are_hosts_of_their_own_and_are_counted() -> None:
    """A thousand servers on one machine are bounded as well, however their host is written."""
    names = RequestNames()
    found = {names.of("GET", host, port) for port in range(1, 1001) for host in ("a.example", "A.EXAMPLE")}
    assert len(found) == MAX_HOSTS + 1


def test_threads_do_not_get_more_names_than_there_are() -> None:
    """Hosts that come up in several threads at once keep to the bound, too."""
    names = RequestNames()
    found: set[str] = set()
    begin = threading.Barrier(8)

    def ask(number: int) -> None:
        begin.wait()
        found.update(names.of("GET", f"h{number}-{each}.example", None) for each in range(200))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == MAX_HOSTS + 1
