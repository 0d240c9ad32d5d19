# SPDX-License-Identifier: Apache-2.0
"""Small servers for the tests, each in threads of its own on a loopback port of its own."""

import socket
import threading


class Server:
    """Accepts until it is closed; a subclass says what happens to a connection in serve()."""

    def __init__(self, host="127.0.0.1"):
        self.lock = threading.Lock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=family, backlog=512)
        self.host = f"[{host}]" if ":" in host else host
        self.port = self.listener.getsockname()[1]
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open.add(sock)
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        try:
            self.serve(sock)
        except (OSError, EOFError, ValueError):
            pass  # the peer went away, which is its right
        finally:
            with self.lock:
                self.open.discard(sock)
            sock.close()

    def serve(self, sock):
        raise NotImplementedError

    def close(self):
        self.listener.close()
        with self.lock:
            for sock in self.open:
                # Wakes the thread that reads from it.
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
