"""Real web servers behind the door, in the `server` namespace with private folders: nginx, Apache, a WebSocket echo."""

import base64
import contextlib
import hashlib
import os
import signal
import socket
import struct
import threading

from lablib import LabError, need, wait_for

NGINX_PLAIN, NGINX_H2, NGINX_PROXY, NGINX_PROXY_H2 = 8080, 8081, 8082, 8083
APACHE_PLAIN, APACHE_PROXY = 8090, 8091
CADDY = 8095
SINK = 8088  # where both pass /sink on to: a server of the test's own


class Nginx:
    """nginx with: a plain port, an h2c port, both again with PROXY protocol, and a Unix socket."""

    def __init__(self, lab):
        need("nginx")
        self.lab, self.dir = lab, lab.fresh_dir("nginx")
        self.docs = os.path.join(self.dir, "docs")
        self.unix = os.path.join(lab.run_dir, "nginx.sock")
        self.access = os.path.join(self.dir, "access.log")
        os.makedirs(self.docs)
        os.makedirs(os.path.join(self.dir, "tmp"))
        os.chmod(os.path.join(self.dir, "tmp"), 0o777)
        with open(os.path.join(self.docs, "index.html"), "w", encoding="ascii") as f:
            f.write("<title>nginx</title>hello from nginx\n")
        temp = "".join(f"  {n}_temp_path {self.dir}/tmp/{n};\n"
                       for n in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body"))
        self.conf = os.path.join(self.dir, "nginx.conf")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write(f"""daemon off;
worker_processes 1;
user nobody nogroup;
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log info;
events {{ worker_connections 1024; }}
http {{
{temp}  log_format who '$remote_addr $proxy_protocol_addr $proxy_protocol_port "$request" $status $connection_requests';
  access_log {self.access} who;
  client_max_body_size 0;
  keepalive_requests 1000;
  server {{
    listen 127.0.0.1:{NGINX_PLAIN};
    listen [::1]:{NGINX_PLAIN};
    listen 127.0.0.1:{NGINX_H2} http2;
    listen 127.0.0.1:{NGINX_PROXY} proxy_protocol;
    listen 127.0.0.1:{NGINX_PROXY_H2} http2 proxy_protocol;
    listen unix:{self.unix};
    set_real_ip_from 127.0.0.1;
    real_ip_header proxy_protocol;
    root {self.docs};
    location = /echo {{ return 200 "$request_method $http_host $content_length $http_x_test\\n"; }}
    location /sink {{ proxy_request_buffering off; proxy_pass http://127.0.0.1:{SINK}; }}
  }}
}}
""")
        self.proc = None
        self.start()

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.unix)
        self.proc = self.lab.server.start(["nginx", "-p", self.dir, "-c", self.conf],
                                          os.path.join(self.dir, "nginx.log"))
        wait_for(lambda: self.lab.server.listening(NGINX_PLAIN), 10, lambda: f"nginx: {self.proc.log()}")

    def stop(self):
        self.proc.signal(signal.SIGTERM)
        self.proc.wait(10)
        self.proc.close()

    def last_access(self, pattern, timeout=5):
        """The newest line of the access log with this text."""
        def look():
            with contextlib.suppress(FileNotFoundError), open(self.access, encoding="utf-8") as f:
                return [x for x in f if pattern in x]
            return None
        return wait_for(look, timeout, f"{pattern} in nginx's access log")[-1].strip()


class Apache:
    """Apache with a plain port and one with PROXY protocol, both HTTP/1.1 and h2c."""

    def __init__(self, lab):
        need("apache2")
        self.lab, self.dir = lab, lab.fresh_dir("apache")
        self.docs = os.path.join(self.dir, "docs")
        self.access = os.path.join(self.dir, "access.log")
        os.makedirs(self.docs)
        with open(os.path.join(self.docs, "index.html"), "w", encoding="ascii") as f:
            f.write("<title>apache</title>hello from apache\n")
        modules = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n"
                          for m in ("mpm_event", "authz_core", "mime", "dir", "remoteip", "http2", "proxy",
                                    "proxy_http"))
        conf = os.path.join(self.dir, "apache.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"""ServerRoot {self.dir}
ServerName www.example.com
PidFile {self.dir}/pid
ErrorLog {self.dir}/error.log
User nobody
Group nogroup
{modules}
TypesConfig /etc/mime.types
Listen 127.0.0.1:{APACHE_PLAIN}
Listen 127.0.0.1:{APACHE_PROXY}
Protocols h2c http/1.1
DocumentRoot {self.docs}
DirectoryIndex index.html
ProxyPass /sink http://127.0.0.1:{SINK}/sink
LogFormat "%a \\"%r\\" %>s %k" who
CustomLog {self.access} who
<Directory {self.docs}>
  Require all granted
</Directory>
<VirtualHost 127.0.0.1:{APACHE_PROXY}>
  RemoteIPProxyProtocol On
</VirtualHost>
""")
        self.proc = lab.server.start(["apache2", "-D", "FOREGROUND", "-f", conf], os.path.join(self.dir, "apache.log"))
        wait_for(lambda: lab.server.listening(APACHE_PLAIN), 10, lambda: f"apache: {self.proc.log()}")

    def last_access(self, pattern, timeout=5):
        def look():
            with contextlib.suppress(FileNotFoundError), open(self.access, encoding="utf-8") as f:
                return [x for x in f if pattern in x]
            return None
        return wait_for(look, timeout, f"{pattern} in Apache's access log")[-1].strip()

    def stop(self):
        self.proc.close()


class Caddy:
    """Caddy with one port for HTTP/1.1 and h2c, and certificates left to us."""

    def __init__(self, lab):
        need("caddy")
        self.lab, self.dir = lab, lab.fresh_dir("caddy")
        self.docs = os.path.join(self.dir, "docs")
        os.makedirs(self.docs)
        with open(os.path.join(self.docs, "index.html"), "w", encoding="ascii") as f:
            f.write("<title>caddy</title>hello from caddy\n")
        conf = os.path.join(self.dir, "Caddyfile")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"""{{
    auto_https off
    admin off
    servers {{
        protocols h1 h2c
    }}
}}
:{CADDY} {{
    bind 127.0.0.1
    root * {self.docs}
    file_server
}}
""")
        self.proc = lab.server.start(["caddy", "run", "--adapter", "caddyfile", "--config", conf],
                                     os.path.join(self.dir, "caddy.log"),
                                     env={"XDG_DATA_HOME": self.dir, "XDG_CONFIG_HOME": self.dir})
        wait_for(lambda: lab.server.listening(CADDY) or not self.proc.alive(), 15, lambda: f"caddy: {self.proc.log()}")
        if not self.proc.alive():
            raise LabError(f"caddy: {self.proc.log()}")

    def stop(self):
        self.proc.close()


class TcpService:
    """A small TCP server of ours: one thread a connection, which runs handle(socket)."""

    def __init__(self, ns, port, handle):
        self.handle = handle
        self.s = ns.listen("127.0.0.1", port)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.s.accept()
                threading.Thread(target=self._one, args=(c,), daemon=True).start()

    def _one(self, c):
        with contextlib.suppress(OSError, ValueError), contextlib.closing(c):
            c.settimeout(30)
            self.handle(c)

    def close(self):
        with contextlib.suppress(OSError):
            self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()


def exactly(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise ValueError("end of stream")
        data += part
    return data


def read_head(s):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(s, 1)
    return head


def websocket_echo(s):
    """RFC 6455, just enough: the handshake, then every frame comes back unmasked."""
    head = read_head(s).decode()
    key = next(x.split(":", 1)[1].strip() for x in head.split("\r\n") if x.lower().startswith("sec-websocket-key:"))
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    s.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    while True:
        opcode, data = ws_recv(s)
        s.sendall(ws_frame(opcode, data, masked=False))
        if opcode == 8:
            return


def ws_frame(opcode, data, masked=True):
    mask = os.urandom(4) if masked else b""
    n, top = len(data), 0x80 if masked else 0
    size = bytes([top | n]) if n < 126 else bytes([top | 126]) + struct.pack("!H", n) if n < 65536 else \
        bytes([top | 127]) + struct.pack("!Q", n)
    body = bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if masked else data
    return bytes([0x80 | opcode]) + size + mask + body


def ws_recv(s):
    first, second = exactly(s, 2)
    n = second & 0x7F
    if n == 126:
        n, = struct.unpack("!H", exactly(s, 2))
    elif n == 127:
        n, = struct.unpack("!Q", exactly(s, 8))
    mask = exactly(s, 4) if second & 0x80 else b""
    data = exactly(s, n)
    return first & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if mask else data


def ws_open(s, host):
    s.sendall(f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    head = read_head(s)
    if not head.startswith(b"HTTP/1.1 101") or b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head:
        raise LabError(f"WebSocket handshake answered {head!r}")


def body_sink(s):
    """Reads requests with a chunked or counted body; answers each with the body's length and SHA-256."""
    while True:
        head = read_head(s).decode("latin-1").lower()
        h, total = hashlib.sha256(), 0
        if "expect: 100-continue" in head:
            s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "transfer-encoding: chunked" in head:
            while True:
                line = b""
                while not line.endswith(b"\r\n"):
                    line += exactly(s, 1)
                n = int(line, 16)
                part = exactly(s, n)
                exactly(s, 2)
                if not n:
                    break
                h.update(part)
                total += n
        elif "content-length:" in head:
            left = int(head.split("content-length:")[1].split()[0])
            while left:
                part = exactly(s, min(left, 65536))
                h.update(part)
                left, total = left - len(part), total + len(part)
        body = f"{total} {h.hexdigest()}\n".encode()
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def half_close_sink(s):
    """Reads until the client's half-close, then answers with what it got: only a relay that carries FINs passes."""
    h, total = hashlib.sha256(), 0
    while part := s.recv(65536):
        h.update(part)
        total += len(part)
    s.sendall(f"{total} {h.hexdigest()}\n".encode())
