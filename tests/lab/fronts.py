"""What stands before the door or beside it: HAProxy, nginx with a certificate of its own, and headers as they send."""

import hashlib
import os
import re
import signal
import socket
import ssl
import struct

from lablib import ROOT, check, need, wait_for

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


# ---- PROXY headers -------------------------------------------------------------------------------------------------

def v1(src="203.0.113.9", dst="192.0.2.2", sport=40000, dport=443):
    return f"PROXY TCP{6 if ':' in src else 4} {src} {dst} {sport} {dport}\r\n".encode()


def v2_raw(command, family, body, length=None):
    return V2_SIGNATURE + struct.pack("!BBH", command, family, len(body) if length is None else length) + body


def v2(src="203.0.113.9", dst="192.0.2.2", sport=40000, dport=443, tlvs=b""):
    af = socket.AF_INET6 if ":" in src else socket.AF_INET
    body = socket.inet_pton(af, src) + socket.inet_pton(af, dst) + struct.pack("!HH", sport, dport) + tlvs
    return v2_raw(0x21, 0x21 if ":" in src else 0x11, body)


def tlv(kind, value, length=None):
    return struct.pack("!BH", kind, len(value) if length is None else length) + value


# ---- certificates --------------------------------------------------------------------------------------------------

def leaf(path):
    """The first certificate of a PEM file, as DER."""
    with open(path, encoding="ascii") as f:
        text = f.read()
    text = text[text.index("-----BEGIN CERTIFICATE"):]
    return ssl.PEM_cert_to_DER_cert(text[:text.index("-----END CERTIFICATE")] + "-----END CERTIFICATE-----\n")


def sha256(der):
    return hashlib.sha256(der).hexdigest()


def put(path, *parts):
    """Replaces a file at once, as a careful administrator does: chain and key in one for HAProxy."""
    with open(path + ".new", "wb") as out:
        for part in parts:
            if isinstance(part, bytes):
                out.write(part)
                continue
            with open(part, "rb") as f:
                out.write(f.read())
    os.rename(path + ".new", path)
    return path


# ---- the documentation ---------------------------------------------------------------------------------------------

def from_docs(first, page="operations.md"):
    """The example in the documentation whose first line starts like this: what is tested is what is written there."""
    with open(os.path.join(ROOT, "docs", page), encoding="utf-8") as f:
        lines = f.read().split("\n")
    at = [n for n, x in enumerate(lines) if x.startswith("    " + first)]
    check(len(at) == 1, f"{page} has {len(at)} examples that start with {first!r}")
    out = []
    for x in lines[at[0]:]:
        if x and not x.startswith("    "):
            break
        out.append(x[4:])
    return "\n".join(out).rstrip("\n") + "\n"


def replaced(text, *pairs):
    """text with each old replaced by new; each old must be there."""
    for old, new in pairs:
        check(old in text, f"{old!r} is not in the example: {text}")
        text = text.replace(old, new)
    return text


# ---- HAProxy -------------------------------------------------------------------------------------------------------

class Haproxy:
    """HAProxy in a namespace (`server`), master and worker; conf may use @DIR@ and has the stats socket @SOCK@."""

    def __init__(self, lab, conf, port, label="haproxy", ns=None):
        need("haproxy")
        ns = ns or lab.server
        self.lab, self.dir = lab, lab.fresh_dir(label)
        self.sock = os.path.join(lab.run_dir, os.path.basename(self.dir) + ".sock")
        path = os.path.join(self.dir, "haproxy.cfg")
        with open(path, "w", encoding="ascii") as f:
            f.write(conf.replace("@DIR@", self.dir).replace("@SOCK@", self.sock))
        self.proc = ns.start(["haproxy", "-W", "-f", path], os.path.join(self.dir, "haproxy.log"))
        wait_for(lambda: ns.listening(port) or not self.proc.alive(), 10, "HAProxy")
        check(self.proc.alive(), f"HAProxy: {self.proc.log()}")

    def reload(self):
        """The master starts a new worker; the old one keeps its connections."""
        before = self.proc.log().count("Loading success")
        self.proc.signal(signal.SIGUSR2)
        wait_for(lambda: self.proc.log().count("Loading success") > before, 10, lambda: f"reload: {self.proc.log()}")

    def admin(self, command):
        """A command of the runtime API; returns its answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.sock)
            s.sendall(command.encode() + b"\n")
            out = b""
            while part := s.recv(65536):
                out += part
        return out.decode(errors="replace").strip()

    def swap(self, path):
        """The file's certificate by the runtime API, without a reload."""
        with open(path, encoding="ascii") as f:
            pem = re.sub(r"\n{2,}", "\n", f.read())
        said = self.admin(f"set ssl cert {path} <<\n{pem}") + self.admin(f"commit ssl cert {path}")
        check("Success" in said, f"the runtime API said {said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proc.close()
        return False


# ---- nginx that ends TLS itself ------------------------------------------------------------------------------------

class NginxTls:
    """nginx with its own certificate: a port without and one with PROXY protocol; PUT stores a file."""

    PORT, PROXY_PORT = 8443, 8444

    def __init__(self, lab, cert):
        need("nginx")
        self.dir = lab.fresh_dir("nginx-tls")
        self.docs, self.access = os.path.join(self.dir, "docs"), os.path.join(self.dir, "access.log")
        for d in (self.docs, os.path.join(self.dir, "tmp")):
            os.makedirs(d)
            os.chmod(d, 0o777)
        temp = "".join(f"{n}_temp_path {self.dir}/tmp/{n}; "
                       for n in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body"))
        conf = os.path.join(self.dir, "nginx.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"""daemon off;
worker_processes 1;
user root;
pid {self.dir}/nginx.pid;
error_log {self.dir}/error.log info;
events {{ worker_connections 2048; }}
http {{
  {temp}
  log_format who '$remote_addr $proxy_protocol_addr "$request" $status $ssl_protocol $ssl_server_name';
  access_log {self.access} who;
  client_max_body_size 0;
  client_header_timeout 2s;
  ssl_certificate {cert[0]};
  ssl_certificate_key {cert[1]};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{
    listen 127.0.0.1:{self.PORT} ssl http2;
    listen 127.0.0.1:{self.PROXY_PORT} ssl http2 proxy_protocol;
    set_real_ip_from 127.0.0.1;
    real_ip_header proxy_protocol;
    root {self.docs};
    dav_methods PUT;
  }}
}}
""")
        self.proc = lab.server.start(["nginx", "-p", self.dir, "-c", conf], os.path.join(self.dir, "nginx.log"))
        wait_for(lambda: lab.server.listening(self.PORT), 10, lambda: f"nginx: {self.proc.log()}")

    def last_access(self, pattern, timeout=5):
        def look():
            if os.path.exists(self.access):
                with open(self.access, encoding="utf-8") as f:
                    return [x for x in f if pattern in x]
            return None
        return wait_for(look, timeout, f"{pattern} in nginx's access log")[-1].strip()

    def stop(self):
        self.proc.close()
