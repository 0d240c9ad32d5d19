# SPDX-License-Identifier: Apache-2.0
"""Other ways to the same raw server: a socket in the file system, a given address and port, TLS,
and a proxy that opens tunnels."""

import contextlib
import os
import socket
import ssl
import subprocess
import threading

from harness import read_head

from . import Server
from .raw import RawServer


class NotTcp:
    """A socket that takes no options of TCP."""

    def __init__(self, sock):
        self.sock = sock

    def setsockopt(self, *_):
        pass

    def __getattr__(self, name):
        return getattr(self.sock, name)


class UnixServer(RawServer):
    def __init__(self, path):
        self.answer = b"raw\n"
        self.seen = []
        self.connections = 0
        self.lock = threading.Lock()
        self.open = set()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def serve(self, sock):
        super().serve(NotTcp(sock))


class TwinServer(RawServer):
    """At the port of another server, on another address."""

    def __init__(self, host, port):
        super().__init__(host=host)
        self.listener.close()
        self.listener = socket.create_server((host, port), backlog=512)
        self.port = port
        threading.Thread(target=self.accept, daemon=True).start()


class Certificates:
    """An authority of its own, and what it signed, in PEM files of a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self.ca_key = self.make("ca", "/CN=test authority")
        self.stranger, _ = self.make("stranger", "/CN=stranger", host="localhost")

    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def make(self, name, subject, host=None):
        """Signed by itself."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extra = ["-addext", f"subjectAltName=DNS:{host}"] if host else []
        self.openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", subject, "-days", "2", "-keyout", key, "-out", cert, *extra),
        )
        return cert, key

    def sign(self, name, names, days=2):
        """Signed by the authority, for the names; of negative days, expired."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        csr, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        self.openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", key, "-out", csr),
        )
        extensions.write_text("subjectAltName=" + ",".join(names) + "\n")
        self.openssl(
            *("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.ca_key),
            *("-CAcreateserial", "-days", days, "-extfile", extensions, "-out", cert),
        )
        return cert, key


class TlsServer(RawServer):
    """Keeps what each handshake said, too: server name, protocol, client certificate."""

    def __init__(self, cert, key, client_ca=None, **more):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self.context.sni_callback = self.on_name
        if client_ca:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(client_ca)
        self.names, self.protocols, self.clients = [], [], []
        super().__init__(**more)

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    def on_name(self, _socket, name, _context):
        self.names.append(name)

    def serve(self, sock):
        with contextlib.suppress(ssl.SSLError):
            tls = self.context.wrap_socket(sock, server_side=True)
            self.protocols.append(tls.selected_alpn_protocol())
            self.clients.append(tls.getpeercert())
            super().serve(tls)


class EndingTlsServer(TlsServer):
    """Each answer ends with its connection, which says so in TLS where the path does."""

    def __init__(self, *certificate, version=None):
        super().__init__(*certificate)
        if version:
            self.context.maximum_version = version

    def respond(self, sock, head, _fields):
        length = b"Content-Length: 4\r\n" if b"/length" in head else b""
        chunked = b"/chunked" in head
        coding = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        body = b"4\r\nraw\n\r\n0\r\n\r\n" if chunked else b"raw\n"
        sock.sendall(b"HTTP/1.1 200 OK\r\n" + length + coding + b"\r\n" + body)
        if b"/said" in head:
            with contextlib.suppress(OSError):
                sock.unwrap()
        else:
            socket.close(sock.detach())
        return False


class Proxy(Server):
    """Opens tunnels, and keeps who asked for one; or refuses with `status`."""

    def __init__(self, status=200):
        self.status = status
        self.heads = []
        super().__init__()

    def serve(self, sock):
        with sock.makefile("rb", buffering=0) as file:
            head = read_head(file)
        self.heads.append(head)
        if self.status != 200:
            sock.sendall(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % self.status)
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))) as target:
            sock.sendall(b"HTTP/1.1 200 Tunnel\r\n\r\n")
            back = threading.Thread(target=self.copy, args=(target, sock), daemon=True)
            back.start()
            self.copy(sock, target)
            back.join()

    @staticmethod
    def copy(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


class DeafListener:
    """A port whose SYNs are never answered: its queue of connections is full, and nobody takes
    any."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.port = self.listener.getsockname()[1]
        self.fillers = []
        # Linux takes one more than the backlog; what comes then hangs.
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self.fillers.append(filler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in [*self.fillers, self.listener]:
            sock.close()


def may_mount():
    """Whether a private /etc/hosts can be had: root, and mount namespaces."""
    if os.geteuid() != 0:
        return False
    p = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return p.returncode == 0
