"""What clients and operators do to a server: overload, slowness, leaving, stopping."""

import concurrent.futures
import json
import socket
import time
from types import SimpleNamespace

import httpx
import pytest


def connect(server, data=b""):
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    sock.sendall(data)
    return sock


def request(text="abc", extra=b""):
    body = json.dumps({"texts": [text]}).encode()
    return b"POST /predict HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (extra, len(body), body)


def read_all(sock):
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def ask(server, text="abc", timeout=20):
    return httpx.post(server.url + "/predict", json={"texts": [text], "k": 1}, timeout=timeout)


def test_requests_of_many_clients_share_batches(run_server, fake, until):
    server = run_server(max_batch=8, max_wait_ms=50)
    fake.open.clear()
    with concurrent.futures.ThreadPoolExecutor(17) as pool:
        first = pool.submit(ask, server, "first")
        until(lambda: fake.calls)
        others = [pool.submit(ask, server, "x" * i) for i in range(16)]
        until(lambda: server.waiting == 16)
        fake.open.set()
        assert first.result().status_code == 200
        labels = [other.result().json()["predictions"][0]["labels"] for other in others]
    assert labels == [[f"l{(i + 1) % 12}"] for i in range(16)]
    assert [len(call) for call in fake.calls] == [1, 8, 8]
    assert len(fake.threads) == 1


def test_overload_is_refused_at_once_and_passes(run_server, fake, until):
    server = run_server(queue=4, max_texts=4, max_batch=2)
    fake.open.clear()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        held = [pool.submit(ask, server)]
        until(lambda: fake.calls)
        held += [pool.submit(ask, server) for _ in range(4)]
        until(lambda: server.waiting == 4)
        refused = [pool.submit(ask, server).result() for _ in range(30)]
        assert {r.status_code for r in refused} == {429} and refused[0].headers["retry-after"] == "1"
        assert "queue=4" in refused[0].json()["error"]
        fake.open.set()
        assert {future.result().status_code for future in held} == {200}
    assert ask(server).status_code == 200
    assert server.app.state.bodies.held == 0


def test_what_all_requests_hold_is_bounded(run_server, fake, until):
    server = run_server(max_body=1000, max_held=1500)
    fake.open.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, "x" * 900)
        until(lambda: fake.calls)
        assert ask(server, "y" * 900).status_code == 429
        fake.open.set()
        assert first.result().status_code == 200
    assert ask(server, "y" * 900).status_code == 200


def test_time_out(run_server, fake):
    server = run_server(timeout=0.1)
    fake.open.clear()
    response = ask(server)
    assert response.status_code == 504 and "timeout=0.1" in response.json()["error"]
    fake.open.set()
    assert ask(server).status_code == 200


def test_a_client_that_leaves_frees_its_place(run_server, fake, until):
    server = run_server(queue=1, max_texts=1)
    fake.open.clear()
    first = connect(server, request("first"))
    until(lambda: fake.calls)
    second = connect(server, request("second"))
    until(lambda: server.waiting == 1)
    second.close()
    until(lambda: server.waiting == 0)
    third = connect(server, request("third", b"Connection: close\r\n"))
    until(lambda: server.waiting == 1)
    fake.open.set()
    assert b'"predictions"' in read_all(third)
    assert fake.calls == [["first"], ["third"]]
    first.close()
    assert "xmtc_clients_gone_total 1.0" in httpx.get(server.url + "/metrics").text


@pytest.mark.parametrize("part", ["nothing", "headers", "body"])
def test_slow_clients_are_let_go(run_server, part):
    server = run_server(body_timeout=0.3)
    sent = {"nothing": b"", "headers": b"POST /predict HTTP/1.1\r\nHost: x\r\nContent", "body": request()[:-5]}[part]
    sock = connect(server, sent)
    start = time.monotonic()
    answer = read_all(sock)
    assert time.monotonic() - start < 5
    assert (b"408" in answer and b"body_timeout=0.3" in answer) if part == "body" else answer == b""
    assert server.app.state.bodies.held == 0


def test_a_trickle_of_headers_on_a_used_connection(run_server):
    server = run_server(body_timeout=0.3)
    sock = connect(server, request())
    assert b"200 OK" in sock.recv(65536)
    start = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() - start < 5:
            sock.sendall(b"G" if time.monotonic() == start else b"a")
            time.sleep(0.05)
    assert time.monotonic() - start < 4


def test_a_client_that_does_not_read_its_answer_is_let_go(run_server, fake, until):
    """Else each of the connections could hold an answer of megabytes for ever."""
    for label in fake.labels:
        label.name = "x" * 1_000_000  # more than the system's own buffers take
    server = run_server(body_timeout=0.3)
    sock = connect(server, b"GET /labels HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: 'path="/labels",status="200"' in httpx.get(server.url + "/metrics").text)
    until(lambda: not server.server.server_state.connections)
    sock.close()


def test_a_client_that_reads_slowly_gets_all_of_its_answer():
    """However slowly: what counts is that it takes something between two looks."""
    from xmtc.serving.server import patient_for

    calls, left, cycle = [], [900, 800, 800, 0], SimpleNamespace(response_complete=True)
    protocol = object.__new__(patient_for(3.0))
    protocol.loop = SimpleNamespace(call_later=lambda seconds, what, *given: calls.append(given))
    protocol.transport = SimpleNamespace(
        get_write_buffer_size=lambda: left.pop(0),
        close=lambda: calls.append("closed once all is taken"),
        abort=lambda: calls.append("cut"),
    )
    protocol.cycle = cycle
    protocol._check(None, 0)
    protocol._check(*calls[-1])
    assert calls == [(cycle, 900), "closed once all is taken", (cycle, 800)]
    protocol._check(*calls[-1])
    assert calls[3:] == ["cut"]


def test_headers_without_end(run_server):
    server = run_server()
    sock = connect(server, b"GET /health HTTP/1.1\r\n")
    with pytest.raises(OSError):
        for _ in range(1000):
            sock.sendall(b"X: " + b"a" * 10_000 + b"\r\n")


def test_no_http_at_all(run_server):
    server = run_server()
    assert b"400" in read_all(connect(server, b"\x16\x03\x01 this is no HTTP\r\n\r\n"))
    assert ask(server).status_code == 200


def test_a_stop_answers_everything_that_was_sent(run_server, fake, until):
    server = run_server(linger=1.0, max_batch=4)
    fake.open.clear()
    sent = [connect(server, request(str(i))) for i in range(20)]
    until(lambda: fake.calls and server.waiting)
    server.server.should_exit = True
    until(lambda: server.server.stopping)
    # the listening socket is closed within moments; whoever connected before may still ask
    until(lambda: not any(s.is_serving() for s in server.server.servers))
    with pytest.raises(OSError):
        connect(server)
    fake.open.set()
    for sock in sent:
        answer = read_all(sock)
        assert b"200 OK" in answer and b'"predictions"' in answer and b"connection: close" in answer.lower()
    server.thread.join(20)
    assert not server.thread.is_alive()


def test_a_request_on_a_connection_that_was_idle_when_the_stop_came(run_server, until):
    server = run_server(linger=2.0)
    sock = connect(server)
    until(lambda: server.server.server_state.connections)
    server.server.should_exit = True
    until(lambda: server.server.stopping)
    sock.sendall(request())
    assert b'"predictions"' in read_all(sock)
    late = time.monotonic()
    server.thread.join(20)
    assert time.monotonic() - late < 2, "nothing is left to wait for"


def test_health_says_so_while_stopping(run_server, until):
    server = run_server(linger=2.0)
    sock = connect(server)
    until(lambda: server.server.server_state.connections)
    server.server.should_exit = True
    until(lambda: server.server.stopping)
    sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = read_all(sock)
    assert b"503" in answer and b"stopping" in answer


def test_a_port_in_use(run_server):
    from xmtc.errors import InputError
    from xmtc.serving.server import listen
    from xmtc.serving.settings import Settings

    server = run_server()
    with pytest.raises(InputError, match=f"port={server.port}: cannot listen"):
        listen(Settings(port=server.port)).listen()
