"""What lies between the client and the door, or behind it: a NAT router, forward proxies, a device that re-encrypts,
and three kinds of web server by name.
"""

import contextlib
import os
import re
import threading

import fronts
import webservers as ws
from lablib import (CLIENT4, POOL_SERVER, SERVER4, SERVER6, TAP4, Netns, check, leaf_der, need, sha256, sh, wait_for)
from sstpclient import ABORT, Client, hashlib

# ---- a NAT router --------------------------------------------------------------------------------------------------

OUTER4, OUTER6 = "203.0.113.1", "2001:db8:2::1"  # the router's; the server's end with 2
HOMES, CALLS = 2, 10


def _netns(stack, label):
    ns = Netns(label)
    stack.callback(ns.close)
    return ns


@contextlib.contextmanager
def behind_nat(lab):
    """Homes behind a router that hides them behind one address of either family; the server knows no way to them."""
    need("nft")
    with contextlib.ExitStack() as stack:
        router = _netns(stack, "router")
        homes = [_netns(stack, f"home{n}") for n in range(HOMES)]
        links = [(router, "wan", [f"{OUTER4}/24", f"{OUTER6}/64"], lab.server, "nat0",
                  [f"{OUTER4[:-1]}2/24", f"{OUTER6[:-1]}2/64"])]
        links += [(router, f"lan{n}", [f"10.5.{n}.1/24", f"fd00:5:{n}::1/64"], home, "eth0",
                   [f"10.5.{n}.2/24", f"fd00:5:{n}::2/64"]) for n, home in enumerate(homes)]
        for a, a_dev, a_addrs, b, b_dev, b_addrs in links:
            a.ip("link", "add", a_dev, "type", "veth", "peer", "name", b_dev, "netns", b.name)
            for ns, dev, addrs in ((a, a_dev, a_addrs), (b, b_dev, b_addrs)):
                for x in addrs:
                    ns.ip("addr", "add", x, "dev", dev, *(["nodad"] if ":" in x else []))
                ns.ip("link", "set", dev, "up")
        stack.callback(lab.server.ip, "link", "del", "nat0")
        for n, home in enumerate(homes):
            home.ip("route", "add", "default", "via", f"10.5.{n}.1")
            home.ip("-6", "route", "add", "default", "via", f"fd00:5:{n}::1")
        router.sysctl("net.ipv4.ip_forward", "1")
        router.sysctl("net.ipv6.conf.all.forwarding", "1")
        router.sh("nft", "add table inet nat; add chain inet nat post { type nat hook postrouting priority 100; }; "
                         "add rule inet nat post oifname wan masquerade")
        yield homes


def test_nat(lab):
    """Many clients behind one address, all at once, over both families, from the same port in both homes."""
    faults, up, go = [], [], threading.Barrier(HOMES * CALLS + 1, timeout=60)

    def call(home, n):
        v6 = n % 2
        try:
            server = f"{OUTER6[:-1]}2" if v6 else f"{OUTER4[:-1]}2"
            with Client(SamePort(home, 41000 + n), server, ca=lab.ca.cert, sni="vpn.example.com", timeout=30) as c:
                c.call("alice", "wonderland", algorithm="sha1" if n % 3 else "sha256")
                up.append(c.address)
                go.wait()  # all are up
                go.wait()  # the server was asked
                check(c.ping(POOL_SERVER), "no ping")
                c.hang_up()
        except Exception as e:  # whatever it is
            faults.append(f"{type(e).__name__}: {e}")
            go.abort()

    with behind_nat(lab) as homes, lab.gatehouse(log={"level": "notice"}) as gh:
        threads = [threading.Thread(target=call, args=(h, n), daemon=True) for h in homes for n in range(CALLS)]
        for t in threads:
            t.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            go.wait()
            peers = [s["peer"] for s in gh.sessions()]
            go.wait()
        for t in threads:
            t.join(60)
        check(not faults, "; ".join(faults[:3]))
        check(len(set(up)) == len(peers) == HOMES * CALLS, f"{len(set(up))} addresses, {len(peers)} sessions")
        hosts = {p.rpartition(":")[0] for p in peers}
        check(hosts == {OUTER4, f"[{OUTER6}]"} and len(set(peers)) == len(peers), f"the server saw {sorted(peers)}")
        check(not gh.events("binding-mismatch"), "a binding failed")
        gh.no_sessions()


class SamePort:
    """A namespace whose connections have this local port: what two homes behind one router have in common."""

    def __init__(self, ns, port):
        self.ns, self.port = ns, port

    def connect(self, host, port, timeout, **_kw):
        s = self.ns.sock(fronts.socket.AF_INET6 if ":" in host else fronts.socket.AF_INET)
        try:
            s.settimeout(timeout)
            s.bind(("", self.port))
            s.connect((host, port))
        except OSError:
            s.close()
            raise
        return s


# ---- forward proxies -----------------------------------------------------------------------------------------------

SQUID, TINYPROXY = 3128, 8888
PROXY_USER, PROXY_PASSWORD = "proxyuser", "letmeout"
HOSTS = f"127.0.0.1 localhost\n{SERVER4} vpn.example.com www.example.com\n{SERVER6} six.example.com\n"


class ThroughProxy:
    """A namespace whose connections go through a proxy, by CONNECT."""

    def __init__(self, ns, port, credentials=None):
        self.ns, self.port, self.header = ns, port, ""
        if credentials:
            self.header = "Proxy-Authorization: Basic " + \
                ws.base64.b64encode(":".join(credentials).encode()).decode() + "\r\n"

    def connect(self, host, port, timeout, **_kw):
        s = self.ns.connect("127.0.0.1", self.port, timeout)
        to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            s.sendall(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{self.header}\r\n".encode())
            head = ws.read_head(s)
            check(re.match(rb"HTTP/1\.[01] 200 ", head), f"the proxy answered {head!r}")
        except BaseException:
            s.close()
            raise
        return s


def _hosts_file(lab, folder):
    path = os.path.join(folder, "hosts")
    with open(path, "w", encoding="ascii") as f:
        f.write(HOSTS)
    return path


@contextlib.contextmanager
def squid(lab):
    """squid in the `client` namespace, which wants a password. Yields its access log."""
    need("squid", "openssl")
    folder = lab.fresh_dir("squid")
    os.chmod(folder, 0o777)
    users, access, conf = (os.path.join(folder, n) for n in ("users", "access.log", "squid.conf"))
    with open(users, "w", encoding="ascii") as f:
        f.write(f"{PROXY_USER}:{sh(['openssl', 'passwd', '-apr1', PROXY_PASSWORD])}")
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"""http_port {SQUID}
hosts_file {_hosts_file(lab, folder)}
dns_nameservers 127.0.0.1
auth_param basic program /usr/lib/squid/basic_ncsa_auth {users}
acl known proxy_auth REQUIRED
acl https port 443
http_access deny CONNECT !https
http_access allow known
http_access deny all
cache deny all
access_log stdio:{access}
cache_log {folder}/cache.log
cache_store_log none
pid_filename {folder}/squid.pid
coredump_dir {folder}
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname proxy.example.com
""")
    proc = lab.client.start(["squid", "-N", "-f", conf], os.path.join(folder, "squid.out"))
    try:
        wait_for(lambda: lab.client.listening(SQUID) or not proc.alive(), 20, lambda: f"squid: {proc.log()}")
        check(proc.alive(), f"squid: {proc.log()}")
        yield access
    finally:
        proc.close()


@contextlib.contextmanager
def tinyproxy(lab):
    """tinyproxy in the `client` namespace, for everybody. Yields its log."""
    need("tinyproxy", "unshare")
    folder = lab.fresh_dir("tinyproxy")
    os.chmod(folder, 0o777)
    log, conf = (os.path.join(folder, n) for n in ("tinyproxy.log", "tinyproxy.conf"))
    with open(conf, "w", encoding="ascii") as f:
        f.write(f'User nobody\nGroup nogroup\nPort {TINYPROXY}\nTimeout 600\nMaxClients 100\nConnectPort 443\n'
                f'LogFile "{log}"\nLogLevel Connect\nPidFile "{folder}/pid"\n')
    hosts = _hosts_file(lab, folder)  # it knows the system's alone
    proc = lab.client.start(["unshare", "-m", "sh", "-c",
                             f"mount --bind {hosts} /etc/hosts && exec tinyproxy -d -c {conf}"],
                            os.path.join(folder, "tinyproxy.out"))
    try:
        wait_for(lambda: lab.client.listening(TINYPROXY) or not proc.alive(), 10, lambda: f"tinyproxy: {proc.log()}")
        check(proc.alive(), f"tinyproxy: {proc.log()}")
        yield log
    finally:
        proc.close()


def through_proxy(lab, gh, port, log, credentials=None):
    """Calls, a download and the stock client, all through the proxy."""
    at = f"{':'.join(credentials)}@" if credentials else ""
    for host in (SERVER4, SERVER6, "vpn.example.com", "six.example.com"):
        with Client(ThroughProxy(lab.client, port, credentials), host, ca=lab.ca.cert, sni="vpn.example.com") as c:
            check(c.cert == leaf_der(lab.vpn[0]), "the proxy shows another certificate")
            c.call("alice", "wonderland")
            for size in (100, 1300):
                check(c.ping(POOL_SERVER, data=b"x" * size), f"{host}: no ping")
            c.hang_up()
    out = lab.client.sh("curl", "-sS", "--cacert", lab.ca.cert, "-x", f"http://{at}127.0.0.1:{port}", "-o", "/dev/null",
                        "-w", "%{http_connect} %{http_code}", "https://www.example.com/")
    check(out == "200 200", f"web site through the proxy: {out}")
    since = gh.mark()
    with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert,
                         more=f"--proxy http://{at}{TAP4}:{port}") as call:
        call.wait_up()
        up = gh.wait_event("call-up", since=since, user="alice")
        check(up["peer"].startswith(CLIENT4 + ":"), f"not through the proxy: {up['text']}")
        lab.uml().sh(f"ping -c1 -W3 {POOL_SERVER}")
        call.hang_up()
        gh.wait_event("call-down", since=since, user="alice")
        call.wait_end()
    with open(log, encoding="utf-8") as f:
        said = f.read()
    check(said.count("CONNECT") >= 6, f"the proxy's log has {said.count('CONNECT')} CONNECTs")
    check(not gh.events("binding-mismatch"), "a binding failed")
    gh.no_sessions()


def test_squid(lab):
    with squid(lab) as log, lab.gatehouse() as gh:
        through_proxy(lab, gh, SQUID, log, (PROXY_USER, PROXY_PASSWORD))


def test_tinyproxy(lab):
    with tinyproxy(lab) as log, lab.gatehouse() as gh:
        through_proxy(lab, gh, TINYPROXY, log)


# ---- a device that re-encrypts -------------------------------------------------------------------------------------

INSPECTS, PASSES = 8443, 8444


def test_reencrypting_proxy(lab):
    """
    A device ends TLS with a certificate that the client trusts, and makes TLS of its own to the server: the call is
    refused, and the log has both certificates, name and address, and says what it is. One that only passes TCP on does
    no harm.
    """
    device = lab.ca.issue("inspection", ["vpn.example.com"], key=lab.vpn[1])  # even with the server's own key
    folder = lab.fresh_dir("inspection")
    pem = fronts.put(os.path.join(folder, "both.pem"), *device)
    to = "ssl verify required ca-file " + lab.ca.cert + " sni str(vpn.example.com)"
    conf = f"""defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen inspects4
  bind 0.0.0.0:{INSPECTS} ssl crt {pem}
  server door {SERVER4}:443 {to}
listen inspects6
  bind [::1]:{INSPECTS} ssl crt {pem}
  server door [{SERVER6}]:443 {to}
listen passes
  bind 0.0.0.0:{PASSES}
  server door {SERVER4}:443
"""
    seen, shown = leaf_der(lab.vpn[0]), leaf_der(device[0])
    with lab.gatehouse() as gh, fronts.Haproxy(lab, conf, INSPECTS, ns=lab.client):
        for host, algorithm in (("127.0.0.1", "sha256"), ("127.0.0.1", "sha1"), ("::1", "sha256")):
            since = gh.mark()
            with Client(lab.client, host, INSPECTS, ca=lab.ca.cert, sni="vpn.example.com") as c:
                check(c.cert == shown, "the device is not in the path")
                c.http()
                c.connect_request()
                check(c.login("alice", "wonderland", "mschapv2"), "login")
                c.send_connected(algorithm=algorithm)
                said, closed = c.fate(8)
                aborts = [m for m in said if m.kind == ABORT]
                check(closed and len(aborts) == 1 and c.status(aborts[0]) == [(3, 4)], f"the server said {said}")
            tells_of_device(gh, since, seen, shown, algorithm, SERVER6 if host == "::1" else SERVER4)
        since = gh.mark()
        with lab.uml().sstpc("alice", "wonderland", f"{TAP4}:{INSPECTS}") as call:
            call.wait_end()
        tells_of_device(gh, since, seen, shown, "sha256", SERVER4)
        check(not gh.events("call-up"), "a call came up")
        with Client(lab.client, "127.0.0.1", PASSES, ca=lab.ca.cert, sni="vpn.example.com") as c:
            c.call("alice", "wonderland")
            check(c.ping(POOL_SERVER), "no ping")
            c.hang_up()


def tells_of_device(gh, since, seen, shown, algorithm, local):
    e = gh.wait_event("binding-mismatch", since=since)
    want = {"level": "notice", "served": hashlib.new(algorithm, seen).hexdigest(), "certificate": "vpn",
            "client_sent": hashlib.new(algorithm, shown).hexdigest(), "sni": "vpn.example.com",
            "local": f"[{local}]:443" if ":" in local else f"{local}:443"}
    for k, v in want.items():
        check(e.get(k) == v, f"{k} is not {v!r}: {e['text']}")
    check("re-encrypting device" in e["remedy"] and e["peer"], e["text"])


# ---- three web servers ---------------------------------------------------------------------------------------------

def test_three_web_servers(lab):
    """nginx, Apache and Caddy behind one door, each by its name and with its certificate, beside a call."""
    need("curl")
    names = ("nginx", "apache", "caddy")
    with contextlib.ExitStack() as stack:
        behind = {"nginx": ws.Nginx(lab), "apache": ws.Apache(lab), "caddy": ws.Caddy(lab)}
        ports = {"nginx": (ws.NGINX_PLAIN, ws.NGINX_H2), "apache": (ws.APACHE_PLAIN,) * 2, "caddy": (ws.CADDY,) * 2}
        blobs, certs, web = {}, [], []
        for name in names:
            stack.callback(behind[name].stop)
            blobs[name] = os.urandom(3 << 20)
            with open(os.path.join(behind[name].docs, "blob"), "wb") as f:
                f.write(blobs[name])
            host, own = f"{name}.example.com", lab.ca.issue(f"site-{name}", [f"{name}.example.com"])
            certs.append({"name": name, "chain": own[0], "key": own[1], "for": [host]})
            web.append({"name": host, "upstream": f"127.0.0.1:{ports[name][0]}",
                        "upstream-h2": f"127.0.0.1:{ports[name][1]}"})
        certs.append({"name": "vpn", "chain": lab.vpn[0], "key": lab.vpn[1], "for": ["default"]})
        stack.enter_context(lab.gatehouse(certificates=certs, web=web))
        call = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert, sni="vpn.example.com"))
        call.call("alice", "wonderland")
        for name in names:
            for flag, version in (("--http1.1", "1.1"), ("--http2", "2")):
                for address in (SERVER4, f"[{SERVER6}]"):
                    path = os.path.join(lab.test_dir, f"{name}.blob")
                    url = f"https://{name}.example.com"
                    out = lab.client.sh("curl", "-sS", flag, "--cacert", lab.ca.cert, "--resolve",
                                        f"{name}.example.com:443:{address}", "-o", path, f"{url}/blob", "-o", "-",
                                        f"{url}/", "-w", "%{http_version} %{http_code}\n")
                    check(f"hello from {name}" in out and out.count(f"{version} 200") == 2, f"{name} {flag}: {out}")
                    with open(path, "rb") as f:
                        check(sha256(f.read()) == sha256(blobs[name]), f"{name} {flag}: what came differs")
            with Client(lab.client, SERVER4, ca=lab.ca.cert, sni=f"{name}.example.com") as c:  # and a VPN client there
                c.call("alice", "wonderland")
                check(c.ping(POOL_SERVER), f"{name}: no ping")
                c.hang_up()
            check(call.ping(POOL_SERVER), f"the call passes no data any more after {name}")
        call.hang_up()
