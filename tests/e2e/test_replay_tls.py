# SPDX-License-Identifier: Apache-2.0
"""Replay to targets that speak TLS: who is trusted, what is shown, what is asked for; and that the
recorded bytes arrive inside."""

import json
import pathlib
import ssl
import subprocess

import pytest
from conftest import running
from harness import can_capture, free_port, request, run, select, wait_until, without
from pcapfile import Conversation, PcapFile, simple
from servers import Server
from servers.ways import Certificates, EndingTlsServer, Proxy, TlsServer


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.good = made.sign("good", ["DNS:localhost", "IP:127.0.0.1"])
    made.wrong_host = made.sign("wrong", ["DNS:elsewhere.test"])
    made.expired = made.sign("expired", ["DNS:localhost"], days=-1)
    made.client = made.sign("client", ["DNS:client.test"])
    return made


def dataset(folder, requests):
    simple(folder / "in.pcap", requests)
    run("capture", "-r", folder / "in.pcap", "-o", folder / "shadow.db")
    return folder / "shadow.db"


def replay(store, url, *args, **more):
    return run("replay", store, "--to", url, "--max", "--host", "keep", *args, **more)


def errors(store):
    return [r["error"] for r in select(store, "select error from result order by exchange_id")]


RAW = [
    request("GET", "/a?b=c", [b"X: 1", b"x:2"]),
    request("POST", "/post", [b"Content-Length: 300000"], b"\0\r\n" * 100000),
    request("GET", "/last"),
]


def test_bytes_inside_tls(certificates, tmp_path):
    store = dataset(tmp_path, RAW)
    with TlsServer(*certificates.good) as server:
        replay(store, server.url, "--methods", "all", "--cacert", certificates.ca)
        assert [without(s.raw, "X-Shadow-Replay")[0] for s in server.seen] == RAW
        assert server.connections == 1
        assert server.names == ["localhost"]
        assert server.protocols == ["http/1.1"], "HTTP/2 must not be offered where bytes are ours"
        assert server.clients == [None]


def test_an_address_is_no_server_name(certificates, tmp_path):
    """RFC 6066, 3: addresses are not sent; the certificate is checked for it all the same."""
    store = dataset(tmp_path, RAW[:1])
    with TlsServer(*certificates.good) as server:
        replay(store, f"https://127.0.0.1:{server.port}", "--cacert", certificates.ca)
        assert len(server.seen) == 1
        assert not any(server.names)


# certificate of the server, options, whether it is trusted
TRUST = [
    ("good", ["ca"], True),
    ("good", [], False),
    ("good", ["stranger"], False),
    ("expired", ["ca"], False),
    ("wrong_host", ["ca"], False),
    ("good", ["insecure"], True),
    ("expired", ["insecure"], True),
    ("wrong_host", ["insecure"], True),
]


@pytest.mark.parametrize("which, how, trusted", TRUST, ids=[f"{a}-{b}" for a, b, _ in TRUST])
def test_trust(which, how, trusted, certificates, tmp_path):
    """Nothing goes to a target that is not who it should be, unless a person says so."""
    options = {
        "ca": ["--cacert", certificates.ca],
        "stranger": ["--cacert", certificates.stranger],
        "insecure": ["--insecure"],
    }
    store = dataset(tmp_path, RAW[:1])
    with TlsServer(*getattr(certificates, which)) as server:
        args = [word for name in how for word in options[name]]
        replay(store, server.url, *args, status=0 if trusted else 1)
        assert len(server.seen) == trusted
    assert errors(store) == [None if trusted else "TLS failed"]


def test_another_server_name(certificates, tmp_path):
    """--sni is what is asked for and what the certificate must be for; Host is not touched by
    it."""
    store = dataset(tmp_path, RAW[:1])
    with TlsServer(*certificates.wrong_host) as server:
        replay(store, server.url, "--cacert", certificates.ca, "--sni", "elsewhere.test")
        assert server.names == ["elsewhere.test"]
        assert server.seen[0].field("Host") == "service.test"


@pytest.mark.parametrize("separate", [True, False], ids=["key apart", "key within"])
def test_client_certificate(separate, certificates, tmp_path):
    store = dataset(tmp_path, RAW[:1])
    cert, key = certificates.client
    args = ["--cert", cert, "--key", key]
    if not separate:
        both = tmp_path / "both.pem"
        both.write_bytes(cert.read_bytes() + key.read_bytes())
        args = ["--cert", both]
    with TlsServer(*certificates.good, client_ca=certificates.ca) as server:
        replay(store, server.url, "--cacert", certificates.ca, *args)
        assert server.clients[0]["subjectAltName"] == (("DNS", "client.test"),)


def test_no_client_certificate(certificates, tmp_path):
    """In TLS 1.3 a client learns of it only after its request is out (RFC 8446, 4.4.2.4)."""
    store = dataset(tmp_path, RAW[:1])
    with TlsServer(*certificates.good, client_ca=certificates.ca) as server:
        replay(store, server.url, "--cacert", certificates.ca, status=1)
        assert server.seen == []
    assert len(errors(store)) == 1 and errors(store)[0]


ENDINGS = ["/said", "/unsaid", "/unsaid", "/length", "/chunked", "/said"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_ends_that_are_not_said(version, certificates, tmp_path):
    """RFC 9112, 9.8: what ends with the connection may be cut where TLS does not say that it ends.
    Many servers never do, so that it is an answer, and counted."""
    store = dataset(tmp_path, [request("GET", path) for path in ENDINGS])
    with EndingTlsServer(*certificates.good, version=version) as server:
        ways = ("--cacert", certificates.ca, "--connections", 1)
        done = replay(store, server.url, *ways)
        summary = json.loads(replay(store, server.url, *ways, "--json").out)
    assert "2 answers that ended without close_notify, and may be cut" in done.out
    assert summary["without_close_notify"] == 2 and summary["sent"] == len(ENDINGS)
    assert set(errors(store)) == {None}
    bodies = select(store, "select distinct b.data from body b join result r on r.body = b.id")
    assert [bytes(r[0]) for r in bodies] == [b"raw\n"]


def test_tls_through_a_proxy(certificates, tmp_path):
    store = dataset(tmp_path, RAW[:1])
    with Proxy() as proxy, TlsServer(*certificates.good) as server:
        replay(store, server.url, "--cacert", certificates.ca, "--proxy", proxy.url)
        assert proxy.heads[0].startswith(b"CONNECT localhost:%d " % server.port)
        assert without(server.seen[0].raw, "X-Shadow-Replay")[0] == RAW[0]


def test_tls_at_another_address(certificates, tmp_path):
    store = dataset(tmp_path, RAW[:1])
    with TlsServer(*certificates.wrong_host) as server:
        rule = f"elsewhere.test=127.0.0.1:{server.port}"
        url = "https://elsewhere.test"
        replay(store, url, "--cacert", certificates.ca, "--resolve", rule)
        assert server.names == ["elsewhere.test"]


class Plain(Server):
    """Answers whatever comes as a server without TLS does."""

    def serve(self, sock):
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_tls_to_a_plain_port(tmp_path):
    store = dataset(tmp_path, RAW[:1])
    with Plain() as server:
        replay(store, f"https://127.0.0.1:{server.port}", status=1)
    assert errors(store) == ["TLS failed"]


def test_plain_to_a_tls_port(nginx, tmp_path):
    """nginx tells in plain words, and that is an answer."""
    store = dataset(tmp_path, RAW[:1])
    replay(store, f"http://localhost:{nginx.port}")
    assert [r["status"] for r in select(store, "select status from result")] == [400]


def files(certificates, folder):
    """Files that are not what they should be, by name."""
    empty, encrypted = folder / "empty.pem", folder / "encrypted.key"
    empty.write_text("")
    certificates.openssl(
        *("ec", "-in", certificates.client[1], "-out", encrypted),
        *("-aes128", "-passout", "pass:secret"),
    )
    return {"empty": empty, "encrypted": encrypted, "missing": folder / "missing.pem"}


# options by name of file, what the one line names
WRONG = [
    ([("--cacert", "missing")], "missing.pem"),
    ([("--cacert", "empty")], "empty.pem"),
    ([("--cacert", "folder")], "cannot be read"),
    ([("--cert", "missing")], "missing.pem"),
    ([("--cert", "empty")], "empty.pem"),
    ([("--cert", "cert")], "no private key"),
    ([("--cert", "cert"), ("--key", "missing")], "missing.pem"),
    ([("--cert", "cert"), ("--key", "other")], "not that of the certificate"),
    ([("--cert", "cert"), ("--key", "encrypted")], "pass phrase"),
    ([("--key", "key")], "without a certificate"),
]


@pytest.mark.parametrize("options, named", WRONG, ids=[" ".join(sum(o, ())) for o, _ in WRONG])
def test_wrong_files(options, named, certificates, tmp_path):
    """Said before anything is sent or written, in one line; and nobody is asked for a pass
    phrase."""
    store = dataset(tmp_path, RAW[:1])
    known = files(certificates, tmp_path)
    known |= {"cert": certificates.client[0], "key": certificates.client[1]}
    known |= {"other": certificates.good[1], "folder": tmp_path}
    args = [word for name, which in options for word in (name, known[which])]
    done = replay(store, "https://localhost:1", *args, status=2)
    assert len(done.err_lines) == 1 and named in done.err
    assert select(store, "select * from replay") == []


class Nginx:
    CONFIG = """
        {user}
        daemon off;
        worker_processes 1;
        pid nginx.pid;
        error_log error.log;
        events {{ worker_connections 1024; }}
        http {{
            log_format exact '$request|$status|$http_host|$http_x_y|'
                             '$ssl_server_name|$server_protocol';
            access_log access.log exact;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;
            server {{
                listen 127.0.0.1:{port} ssl http2;
                server_name localhost;
                ssl_certificate {cert};
                ssl_certificate_key {key};
                keepalive_requests {requests};
                location / {{ return 200 "inside\\n"; }}
                location /missing {{ return 404; }}
            }}
        }}
    """

    def __init__(self, folder, cert, key, requests=1000):
        self.port = free_port()
        self.folder = pathlib.Path(folder)
        user = "user root;" if can_capture() else ""
        config = self.CONFIG.format(
            user=user, port=self.port, cert=cert, key=key, requests=requests
        )
        (self.folder / "nginx.conf").write_text(config)
        self.process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"],
            stdin=subprocess.DEVNULL,
        )
        wait_until((self.folder / "nginx.pid").exists, "nginx")

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    def log(self):
        return [line.split("|") for line in (self.folder / "access.log").read_text().splitlines()]


@pytest.fixture(scope="module")
def nginx(certificates, tmp_path_factory):
    with running(Nginx(tmp_path_factory.mktemp("nginx"), *certificates.good)) as server:
        yield server


@pytest.fixture(scope="module")
def nginx_closing(certificates, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nginx-closing")
    with running(Nginx(folder, *certificates.good, requests=7)) as server:
        yield server


def test_nginx(certificates, nginx, tmp_path):
    store = dataset(tmp_path, [request("GET", f"/{i}", [b"x-y: %d" % i]) for i in range(200)])
    replay(store, nginx.url, "--cacert", certificates.ca)
    assert [line for line in nginx.log() if line[4] == "localhost"] == [
        [f"GET /{i} HTTP/1.1", "200", "service.test", str(i), "localhost", "HTTP/1.1"]
        for i in range(200)
    ]
    assert set(errors(store)) == {None}


def test_nginx_closes_now_and_then(certificates, nginx_closing, tmp_path):
    """A server that ends its connections costs nothing but the handshakes."""
    pcap = PcapFile()
    for n in range(10):
        talk = Conversation(pcap, 20000 + n, at=n)
        for i in range(30):
            talk.exchange(2000 + n + 100 * i, request("GET", f"/{n}/{i}"))
        talk.close(900000 + n)
    run("capture", "-r", pcap.write(tmp_path / "in.pcap"), "-o", tmp_path / "shadow.db")
    replay(tmp_path / "shadow.db", nginx_closing.url, "--cacert", certificates.ca)
    assert errors(tmp_path / "shadow.db") == [None] * 300
    assert len(nginx_closing.log()) == 300
