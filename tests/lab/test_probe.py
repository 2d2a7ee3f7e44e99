"""`gatehouse probe` against our own server in all its shapes, against servers of other makes and against hostile ones:
what it finds, whom it says gets in, and that it is polite, bounded and without rights.
"""

import concurrent.futures
import contextlib
import json
import os
import pty
import pwd
import re
import select
import socket
import subprocess
import threading
import time

import webservers as ws
from fakeserver import FakeServer, habit, hostile
from fronts import NginxTls
from lablib import (ROOT, SERVER4, SERVER6, Ca, Proc, check, engine_user, gatehouse_path, leaf_der, need, sha256,
                    wait_for)
from test_certs import OTHER4, other_addresses

BESIDE = 1  # of the other files: see run.py

HOST = "vpn.example.com"
CLIENTS = ("windows-7", "windows-10", "windows-11", "routeros", "sstpc", "gatehouse")
CONNECTIONS = 16  # at most, for one address
FAKES = 6100      # ports
# Stages at which a server falls silent, and what is said of it.
SILENT = {"accept": "tls-failed", "tls": "no-sstp", "request": "no-sstp", "http": "no-sstp", "ack": "no-ppp",
          "auth": "login-failed", "cc": "login-failed"}
SILENT_LIMIT = 55  # seconds for one address
HOSTILE = ("head-drip", "head-flood", "head-lines", "http-garbage", "ssh-banner", "control-characters", "tls-garbage",
           "tls-text", "trailing-text", "trailing-ack", "endless-nak", "endless-lcp-nak", "endless-lcp-request",
           "bitmask-0", "bitmask-4", "ack-short", "bad-options", "unknown-protocols", "echo-flood", "reset@ack",
           "cut@tls", "abort@ack", "redirect-302", "http10", "http-length", "one-byte-records", "big-packets")
HARMLESS = ("one-byte-records", "unknown-protocols", "bad-options", "big-packets")  # the call comes up all the same


class Probe:
    """One run, to its end. Names are looked up in `hosts`: [(name, address)]."""

    def __init__(self, lab, url, *args, hosts=None, user=None, password="wonderland", ca=True, as_json=True, prefix=(),
                 timeout=90):
        self.dir = lab.fresh_dir("probe")
        hosts_path, password_path = (os.path.join(self.dir, n) for n in ("hosts", "password"))
        for path, text in ((password_path, password + "\n"), (hosts_path, "127.0.0.1 localhost\n" + "".join(
                f"{a} {n}\n" for n, a in (lab.hosts if hosts is None else hosts)))):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        os.chmod(password_path, 0o600)
        args = [*(["--ca", lab.ca.cert] if ca else []), *(["--json"] if as_json else []), *args]
        if user:
            args += ["--user", user, "--password-file", password_path]
        self.argv = lab.client.argv(["sh", "-c", 'mount --bind "$1" /etc/hosts && shift && exec "$@"', "sh", hosts_path,
                                     *prefix, gatehouse_path(), "probe", url, *args])
        began = time.monotonic()
        done = subprocess.run(self.argv, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
                              env=dict(os.environ, LC_ALL="C"), check=False)
        self.seconds = time.monotonic() - began
        self.status, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()
        with open(os.path.join(self.dir, "output"), "w", encoding="utf-8") as f:
            f.write(self.out + self.err)
        check(self.status in (0, 1) and not self.err, f"status {self.status}: {self.err[-600:]}")
        check(self.out.isascii() and re.fullmatch(r"[\x20-\x7e\n]*", self.out), f"not printable: {self.out!r}")
        if as_json:
            self.data = json.loads(self.out)
            self.clients = {n: c["connects"] for n, c in self.data["clients"].items()}
            self.codes = [f["code"] for f in self.data["findings"]]
            check(tuple(self.clients) == CLIENTS, f"clients: {self.clients}")
            check(self.status == (1 if "no" in self.clients.values() else 0), f"status {self.status}: {self.clients}")

    @property
    def one(self):
        """The only address."""
        check(len(self.data["addresses"]) == 1, f"addresses: {[a['address'] for a in self.data['addresses']]}")
        return self.data["addresses"][0]

    def finding(self, code):
        found = [f for f in self.data["findings"] if f["code"] == code]
        check(found, f"no {code}: {self.data['findings']}")
        return found[0]

    def why(self, client):
        return self.data["clients"][client]["why"]

    def says(self, codes, **clients):
        """Exactly these findings (but for the laboratory's short-lived certificates), and these verdicts."""
        got = sorted(set(self.codes) - {"expiring"})
        check(got == sorted(codes), f"findings {got}, expected {sorted(codes)}: {self.data['findings']}")
        for name, want in clients.items():
            name = name.replace("_", "-").replace("windows1", "windows-1")
            check(self.clients[name] == want, f"{name}: {self.clients[name]}, expected {want}: {self.why(name)}")
        return self


def nobody(p, codes):
    p.says(codes)
    check(set(p.clients.values()) == {"no"} and p.status == 1, f"{p.clients}")
    return p


# ---- the servers of other makes --------------------------------------------------------------------------------------

class Field:
    """Our own server (self.gh), and a port for each other one."""

    def __init__(self, lab, gh):
        self.lab, self.gh, self.port = lab, gh, FAKES

    def server(self, what=None, at=(SERVER4,), kind=FakeServer, **kw):
        self.port += 1
        s = kind([self.lab.server.listen(a, self.port) for a in at], [kw.pop("cert", self.lab.vpn)],
                 {"alice": "wonderland"}, what or habit(), **kw)
        s.port = self.port
        return s

    def probe(self, server, *args, **kw):
        return Probe(self.lab, f"https://{HOST}:{server.port}/", *args, hosts=[(HOST, SERVER4)], **kw)

    def reload(self, **changes):
        self.gh.write_conf({**self.gh.conf, **changes})
        self.gh.cli("reload")


@contextlib.contextmanager
def fixture(lab):
    """What takes long goes on beside the other tests, from the beginning."""
    with lab.gatehouse(vpn={"auth": ["mschapv2", "chap", "pap"]}, certificates=one_certificate(lab)) as gh:
        field = Field(lab, gh)
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(len(SILENT) + 1))
            field.silent = {}
            for stage in SILENT:
                s = stack.enter_context(field.server(hostile(f"silence@{stage}")))
                user = "alice" if stage in ("auth", "cc") else None
                field.silent[stage] = s, pool.submit(field.probe, s, user=user)
            yield field


def one_certificate(lab, *rules):
    return [{"name": "vpn", "chain": lab.vpn[0], "key": lab.vpn[1], "for": list(rules or ("default",))}]


def entry(name, pair, *rules):
    return {"name": name, "chain": pair[0], "key": pair[1], "for": list(rules)}


BOTH = [(HOST, SERVER4), (HOST, SERVER6)]


# ---- our own ---------------------------------------------------------------------------------------------------------

def logins(gh, since):
    return [e for e in gh.log()[since:] if e["event"] in ("login-ok", "login-failed", "call-up", "login-refused")]


def test_good(lab, field):
    """Both addresses, everything that is promised; nobody logs in, though every method is found."""
    gh, since = field.gh, field.gh.mark()
    p = Probe(lab, f"https://{HOST}", hosts=BOTH).says(["pap"], windows_7="if", windows_10="yes", windows_11="yes",
                                                       sstpc="yes", gatehouse="yes")
    check(p.status == 0 and p.data["same_leaf"] and p.data["kb947026"]["scenario"] == 3, f"{p.data}")
    check({a["address"] for a in p.data["addresses"]} == {f"{SERVER4}:443", f"[{SERVER6}]:443"}, f"{p.data}")
    der = leaf_der(lab.vpn[0])
    for a in p.data["addresses"]:
        check([v for v, c in a["versions"].items() if c] == ["TLSv1.2", "TLSv1.3"], f"{a['versions']}")
        for t in (a["sni"], a["no_sni"]):
            leaf = t["chain"][0]
            check(leaf["sha256"] == sha256(der) and leaf["server_auth"] and leaf["key"] == "RSA 4096", f"{leaf}")
            check(HOST in leaf["names"] and leaf["not_after"] > time.time(), f"{leaf}")
            check(t["verdict"]["fault"] == "none" and not t["verdict"]["stapled"], f"{t}")
        check(a["sni"]["alpn"] == "http/1.1", f"{a['sni']['alpn']}")
        check(a["get"]["status"] == a["head"]["status"] == 401, f"{a['get']}, {a['head']}")
        call = a["sstp"]
        check((call["status"], call["acked"], call["hash_mask"]) == (200, True, 3), f"{call}")
        check(sorted(call["methods"]) == ["chap", "mschapv2", "pap"] and call["end"]["cause"] == "ok", f"{call}")
        check(a["login"] is None, f"{a['login']}")
    check(not logins(gh, since), f"somebody logged in: {logins(gh, since)}")
    gh.no_sessions()


def test_login(lab, field):
    """A whole call for each address, bound, with an address of the pool, ended in order; a wrong password is told."""
    gh, since = field.gh, field.gh.mark()
    p = Probe(lab, f"https://{HOST}", hosts=BOTH, user="alice").says(["pap"], windows_10="yes", gatehouse="yes")
    for a in p.data["addresses"]:
        got = a["login"]
        check((got["up"], got["method"], got["hash"]) == (True, "mschapv2", "SHA-256"), f"{got}")
        check(got["end"]["cause"] == "ok", f"{got}")
        check(got["ip"].startswith("10.77.0.") and got["peer"] == got["dns"][0] == "10.77.0.1", f"{got}")
    check(len(gh.events("call-up", since)) == len(gh.events("login-ok", since)) == 2, f"{logins(gh, since)}")
    wait_for(lambda: len(gh.events("call-down", since, cause="client-hung-up")) == 2, 5, "two goodbyes")
    gh.no_sessions()
    p = Probe(lab, f"https://{HOST}", "--auth", "pap", "-4", user="alice", password="wrong")
    check("login-failed" in p.codes and "691" in p.one["login"]["end"]["text"], f"{p.one['login']}")
    check(p.one["login"]["end"]["windows"] == "RasClient 20227 (691)" and not p.one["login"]["up"], f"{p.one['login']}")


def test_families(lab, field):
    """-4 and -6; an address alone, of either; a family that the name does not have."""
    for args, want in ((["-4"], [f"{SERVER4}:443"]), (["-6"], [f"[{SERVER6}]:443"])):
        p = Probe(lab, f"https://{HOST}", *args, hosts=BOTH)
        check([a["address"] for a in p.data["addresses"]] == want, f"{p.data['addresses']}")
    field.reload(certificates=[entry("www", lab.www, "default")])
    for url in (f"https://{SERVER4}", f"https://[{SERVER6}]/"):
        p = Probe(lab, url).says(["pap"], windows_10="yes", gatehouse="yes")
        check(p.one["sni"] is None and p.one["no_sni"]["good"] and p.one["get"]["status"] == 401, f"{p.one}")
        check(p.one["head"]["status"] == 401 and p.one["no_sni"]["alpn"] == "http/1.1", f"{p.one}")
    field.reload(certificates=one_certificate(lab))
    nobody(Probe(lab, f"https://{HOST}", "-6", hosts=[(HOST, SERVER4)]), ["resolve"])


def test_scenarios(lab, field):
    """KB 947026, by rules of our own certificates: how it looks; and a login with us shows that nothing is wrong."""
    web = lab.ca.issue("probe-web", [HOST])
    vpn = entry("vpn", lab.vpn, "default")
    with other_addresses(lab):
        two = [(HOST, SERVER4), (HOST, OTHER4)]
        for rule, hosts, scenario, code in ((f"[{SERVER6}]:443", BOTH, 1, "leaf-differs-by-family"),
                                            (f"{OTHER4}:443", two, 2, "leaf-differs-by-address"),
                                            (HOST, [(HOST, SERVER4)], 4, "leaf-differs-by-sni")):
            field.reload(certificates=[vpn, entry("web", web, rule)])
            p = Probe(lab, f"https://{HOST}", hosts=hosts)
            p.says(["pap", code], windows_10="if" if scenario < 3 else "yes", routeros="if", sstpc="if")
            said = p.data["kb947026"]
            check(said["scenario"] == scenario and f"scenario {scenario}" in said["text"] and "--user" in said["text"]
                  and said["cure"] and not p.data["same_leaf"], f"{said}")
            p = Probe(lab, f"https://{HOST}", hosts=hosts, user="alice").says(["pap", code], windows_10="yes")
            check(p.data["kb947026"]["scenario"] == 0, f"{p.data['kb947026']}")
    # The fourth by name: clients land on a certificate that is not for theirs.
    field.reload(certificates=[entry("www", lab.www, "default")])
    p = Probe(lab, "https://six.example.net", hosts=[("six.example.net", SERVER4)])
    p.says(["pap", "name-mismatch"], windows_10="no", routeros="if", gatehouse="no")
    check(p.data["kb947026"]["scenario"] == 4 and "www.example.com" in p.finding("name-mismatch")["text"], f"{p.data}")
    field.reload(certificates=one_certificate(lab))


def test_answers(lab, field):
    """What else the SSTP URI may answer: 404, the web site's page over HTTP/2, 503 while draining."""
    gh, vpn, nginx = field.gh, field.gh.conf["vpn"], ws.Nginx(lab)
    web = [{"upstream": f"127.0.0.1:{ws.NGINX_PLAIN}", "upstream-h2": f"127.0.0.1:{ws.NGINX_H2}"}]
    try:
        field.reload(vpn={**vpn, "probe-answer": "404"})
        p = Probe(lab, f"https://{HOST}").says(["pap"], windows_10="yes")
        check(p.one["get"]["status"] == p.one["head"]["status"] == 404, f"{p.one}")
        field.reload(vpn={**vpn, "probe-answer": "web"}, web=web)
        p = Probe(lab, f"https://{HOST}").says(["pap"], windows_10="yes")
        check(p.one["sni"]["alpn"] == "h2" and p.one["no_sni"]["alpn"] == "http/1.1", f"{p.one['sni']}")
        check(p.one["get"]["status"] == 404 and "nginx" in p.one["get"]["server"], f"{p.one['get']}")
    finally:
        nginx.stop()
    field.reload(vpn=vpn)
    gh.cli("drain")
    p = nobody(Probe(lab, f"https://{HOST}"), ["no-sstp"])
    check(p.one["sstp"]["status"] == 503 and "drain" in p.finding("no-sstp")["remedy"], f"{p.data['findings']}")
    gh.cli("drain", "--off")


def test_no_vpn(lab):
    """A server without a VPN: 400."""
    with lab.gatehouse(vpn=None):
        p = nobody(Probe(lab, f"https://{HOST}"), ["no-sstp", "leaf-differs-by-sni"])
        check(p.one["sstp"]["status"] == 400 and "400" in p.finding("no-sstp")["text"], f"{p.one['sstp']}")


def test_certificates(lab, field):
    """Expired, not for servers, of a private authority, revoked and stapled so, stapled well."""
    staple = os.path.join(lab.test_dir, "staple")
    stapled = lab.ca.issue("probe-stapled", [HOST])
    lab.ca.ocsp(stapled[0], staple)
    field.reload(certificates=[{**entry("stapled", stapled, "default"), "ocsp": staple}])
    p = Probe(lab, f"https://{HOST}").says(["pap"], windows_10="yes")
    check(p.one["sni"]["verdict"]["stapled"] and p.one["sni"]["verdict"]["ocsp"] == "good", f"{p.one['sni']}")
    p = Probe(lab, f"https://{HOST}", ca=False)
    p.says(["pap", "chain-untrusted"], windows_7="no", windows_10="no", windows_11="no", sstpc="no", gatehouse="no",
           routeros="if")
    check("Root" in p.why("windows-10") and "--ca" in p.why("gatehouse"), f"{p.data['clients']}")
    stranger = Ca(os.path.join(lab.test_dir, "stranger"))
    Probe(lab, f"https://{HOST}", "--ca", stranger.cert, ca=False).says(["pap", "chain-untrusted"], gatehouse="no")
    field.reload(certificates=one_certificate(lab))
    with field.server(cert=lab.ca.issue("probe-old", [HOST], days=10, ago=20)) as s:
        p = field.probe(s).says(["expired", "pap"], windows_10="no", routeros="if", sstpc="no", gatehouse="no")
    with field.server(cert=lab.ca.issue("probe-client", [HOST], eku="clientAuth")) as s:
        p = field.probe(s).says(["usage", "pap"], windows_10="no", routeros="if")
        check("RasSstp 16" in p.finding("usage")["text"], f"{p.data['findings']}")


def test_web_server_alone(lab, field):
    """nginx: no SSTP, in clear words; it staples what its file says, though that is stale."""
    pair, stale = lab.ca.issue("probe-nginx", [HOST]), os.path.join(lab.test_dir, "stale")
    lab.ca.ocsp(pair[0], stale, ago=3, minutes=60)
    nginx = NginxTls(lab, (pair[0], f"{pair[1]};\n  ssl_stapling on;\n  ssl_stapling_file {stale}"))
    door = Counter(lab.server, SERVER4, 6100, ("127.0.0.1", NginxTls.PORT))
    try:
        p = nobody(Probe(lab, f"https://{HOST}:6100"), ["no-sstp", "staple"])
        check(p.one["sstp"]["status"] in (400, 405) and p.one["get"]["status"] == 404, f"{p.one}")
        check("web server" in p.finding("no-sstp")["remedy"], f"{p.data['findings']}")
        check(p.one["sni"]["alpn"] == "h2" and p.one["sni"]["verdict"]["ocsp"] == "stale", f"{p.one['sni']}")
        text = Probe(lab, f"https://{HOST}:6100", as_json=False)
        check(text.status == 1 and "error [no-sstp]" in text.out and "nobody: " in text.out, text.out)
    finally:
        door.close()
        nginx.stop()


def test_nothing_there(lab, field):
    """A closed port; a name without an address; one address that nobody has."""
    p = nobody(Probe(lab, f"https://{HOST}:9", ca=False), ["tcp"])
    check("Connection refused" in p.finding("tcp")["text"] and p.seconds < 5, f"{p.data['findings']}")
    nobody(Probe(lab, "https://nowhere.invalid", ca=False), ["resolve"])
    dead = SERVER4.rsplit(".", 1)[0] + ".77"
    p = Probe(lab, f"https://{HOST}", hosts=[(HOST, dead), (HOST, SERVER4)])
    p.says(["pap", "tcp"], windows_10="if", gatehouse="if")
    check(f"{dead}:443" in p.why("gatehouse") and p.status == 0, f"{p.data['clients']}")
    check(p.seconds < 12, f"{p.seconds:.1f} s")


def test_usage(lab, field):
    for args in ((), ("ftp://x",), (f"https://{HOST}", "x"), (f"https://{HOST}", "--auth", "kerberos"),
                 (f"https://{HOST}", "--ca", "/nowhere"), (f"https://{HOST}", "--nonsense"),
                 (f"https://{HOST}", "--ca", "/etc/passwd")):
        r = subprocess.run(lab.client.argv([gatehouse_path(), "probe", *args]), capture_output=True, text=True,
                           timeout=20, check=False)
        check(r.returncode == 2 and r.stderr and not r.stdout, f"{args}: {r}")


# ---- servers of other makes ------------------------------------------------------------------------------------------

def test_makes(lab, field):
    """Hashes and methods as they have them, without a login; then with one."""
    rows = (("rras", {"eap", "mschapv2"}, 3, [], {"windows_10": "yes", "gatehouse": "yes"}),
            ("softether", {"eap", "mschapv2", "pap"}, 2, ["pap"], {"windows_10": "yes", "routeros": "if"}),
            ("routeros", {"mschapv2", "pap"}, 3, ["pap"], {"windows_10": "yes", "gatehouse": "yes"}),
            ("accel-ppp", {"mschapv2", "chap", "pap"}, 3, ["pap"], {"windows_10": "yes", "sstpc": "yes"}))
    for name, methods, mask, codes, clients in rows:
        with field.server(habit(name)) as s:
            p = field.probe(s).says(codes, **clients)
            call = p.one["sstp"]
            check(set(call["methods"]) == methods and call["hash_mask"] == mask, f"{name}: {call}")
            check(not s.events("auth") and not s.events("cc"), f"{name}: {s.events('auth')}")
            p = field.probe(s, user="alice").says(codes, **clients)
            check(p.one["login"]["up"] and p.one["login"]["end"]["cause"] == "ok", f"{name}: {p.one['login']}")
            s.wait("ended", what="DISCONNECT", by="client")
            check(s.events("cc")[0]["ok"], f"{name}: {s.events('cc')}")


def test_methods(lab, field):
    """One method alone: who can log in."""
    rows = ((("eap",), [], {"windows_10": "if", "routeros": "no", "sstpc": "if", "gatehouse": "if"}),
            (("pap",), ["pap"], {"windows_10": "if", "routeros": "if", "sstpc": "yes", "gatehouse": "if"}),
            (("chap",), [], {"windows_10": "if", "sstpc": "yes", "gatehouse": "if"}),
            (("mschapv1",), ["no-method"], {"windows_10": "if", "gatehouse": "no"}),
            (("none",), ["no-method"], {"windows_10": "if", "gatehouse": "no"}))
    for auth, codes, clients in rows:
        with field.server(habit(auth=auth)) as s:
            field.probe(s).says(codes, **clients)
    with field.server(habit(auth=("eap",))) as s:
        p = field.probe(s, user="alice").says([], gatehouse="yes", windows_10="if")
        check(p.one["login"]["method"] == "eap-mschapv2", f"{p.one['login']}")
    with field.server(habit(bitmask=1, auth=("mschapv2",))) as s:
        field.probe(s).says(["hash-sha1"], windows_10="yes")


class AnotherHash(FakeServer):
    """Compares the binding with the hash of another certificate than it shows, as an RRAS that was told so."""

    def context(self, number, what):
        return super().context(number, what)[0], b"another"


def test_binding_refused(lab, field):
    with field.server(habit(auth=("mschapv2",)), kind=AnotherHash) as s:
        p = field.probe(s).says([], windows_10="yes")  # it cannot be seen without a login
        p = nobody(field.probe(s, user="alice"), ["binding-refused"])
        said = p.data["kb947026"]
        check(said["scenario"] == 4 and "Sha256CertificateHash" in said["cure"], f"{said}")
        check("--user" not in said["text"], f"{said}")
        check(p.one["login"]["end"]["windows"] == "RasSstp 6", f"{p.one['login']}")


def test_no_login_to_strangers(lab, field):
    """Where the certificate is not good nobody logs in, unless told so."""
    with field.server(habit(auth=("mschapv2",))) as s:
        p = field.probe(s, user="alice", ca=False).says(["chain-untrusted", "login-not-tried"], gatehouse="no")
        check(p.one["login"] is None and not s.events("auth") and p.one["sstp"]["methods"] == ["mschapv2"], f"{p.one}")
        p = field.probe(s, "--insecure", user="alice", ca=False).says(["chain-untrusted"], gatehouse="no")
        check(p.one["login"]["up"] and s.events("auth"), f"{p.one['login']}")


def test_tls(lab, field):
    """Old versions alone, TLS 1.3 alone, no certificate at all, no CBC; a name that is refused."""
    with field.server(habit(tls=("TLSv1", "TLSv1"), auth=("mschapv2",))) as s:
        p = field.probe(s).says(["tls-old"], windows_7="yes", windows_11="no", gatehouse="no")
        check([v for v, c in p.one["versions"].items() if c] == ["TLSv1"] and p.one["sstp"]["acked"], f"{p.one}")
    with field.server(habit(tls=("TLSv1", "TLSv1_2"), auth=("mschapv2",))) as s:
        p = field.probe(s).says(["tls-legacy"], windows_7="yes", routeros="yes")
        check([v for v, c in p.one["versions"].items() if c] == ["TLSv1", "TLSv1.1", "TLSv1.2"], f"{p.one['versions']}")
    with field.server(habit(tls=("TLSv1_3", "TLSv1_3"), auth=("mschapv2",))) as s:
        p = field.probe(s).says(["tls12-missing"], windows_10="no", windows_11="if", routeros="no", gatehouse="yes")
    with field.server(habit(anonymous=True, auth=("mschapv2",))) as s:
        p = field.probe(s).says(["no-certificate"], windows_10="no", routeros="yes", gatehouse="no")
        check(p.one["sni"]["chain"] == [] and p.one["sstp"]["acked"], f"{p.one}")
    check(Probe(lab, f"https://{HOST}").one["tls12_cbc"] is False, "we have no CBC suites as they come")


# ---- manners ---------------------------------------------------------------------------------------------------------

class Counter:
    """Passes TCP on, and counts: connections, and how many were open when one more came."""

    TCP_ESTABLISHED = 1

    def __init__(self, ns, host, port, to):
        self.ns, self.to, self.n, self.beside = ns, to, 0, 0
        self.listener, self.pairs, self.closed = ns.listen(host, port), {}, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _state(self, s):
        return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]

    def _accept(self):
        s, _ = self.listener.accept()
        outer = [c for c, (_, inner) in self.pairs.items() if not inner]
        self.n += 1
        self.beside = max(self.beside, sum(self._state(c) == self.TCP_ESTABLISHED for c in outer))
        up = self.ns.connect(*self.to)
        self.pairs[s], self.pairs[up] = (up, False), (s, True)

    def _pass(self, s):
        other = self.pairs[s][0]
        try:
            data = s.recv(1 << 16)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            for x in (s, other):
                self.pairs.pop(x, None)
                x.close()

    def _run(self):
        while not self.closed:
            ready = select.select([*self.pairs, self.listener], [], [], 0.1)[0]
            for s in ready:
                if s is self.listener:
                    self._accept()
                elif s in self.pairs:
                    self._pass(s)

    def close(self):
        self.closed = True
        self.thread.join(5)
        for s in [self.listener, *self.pairs]:
            s.close()


def test_polite(lab, field):
    """One connection at a time, a dozen in all, and nothing in a request that says who asks."""
    door = Counter(lab.server, SERVER4, 6099, (SERVER4, 443))
    try:
        Probe(lab, f"https://{HOST}:6099", user="alice").says(["pap"], gatehouse="yes")
        check(8 <= door.n <= CONNECTIONS and door.beside == 0, f"{door.n} connections, {door.beside} beside another")
    finally:
        door.close()
    with field.server() as s:
        field.probe(s)
        for e in s.events("request"):
            check(set(e["headers"]) <= {"host", "connection", "content-length", "sstpcorrelationid"}, f"{e}")
            check("gatehouse" not in json.dumps(e).lower(), f"{e}")
        check(sorted(e["line"].split(" ")[0] for e in s.events("request")) == ["GET", "HEAD", "SSTP_DUPLEX_POST"],
              f"{s.events('request')}")
        check({e["sni"] for e in s.events("tls")} == {HOST, None}, f"{s.events('tls')}")


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def test_rights(lab, field):
    """Root's are given up before the first byte is read; who has none needs none."""
    uid = str(pwd.getpwnam(engine_user()).pw_uid)
    with field.server(hostile("silence@accept")) as s:
        proc = Proc(lab.client.argv([gatehouse_path(), "probe", f"https://{SERVER4}:{s.port}"]),
                    os.path.join(lab.test_dir, "root.log"))
        s.wait("accepted")
        said = status_of(proc.pid)
        proc.close()
    check(set(said["Uid"].split() + said["Gid"].split()) <= {uid, str(pwd.getpwnam(engine_user()).pw_gid)}, f"{said}")
    check(said["NoNewPrivs"] == "1" and not said["Groups"].strip(), f"{said}")
    check(all(int(said[k], 16) == 0 for k in ("CapEff", "CapPrm", "CapInh", "CapAmb")), f"{said}")
    need("setpriv")
    anybody = pwd.getpwnam("nobody")
    p = Probe(lab, f"https://{HOST}", prefix=["setpriv", "--reuid", anybody.pw_uid, "--regid", anybody.pw_gid,
                                              "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
    p.says(["pap"], gatehouse="yes")


# ---- what is printed -------------------------------------------------------------------------------------------------

def names_of(data):
    """All keys of the JSON, however deep; those of `versions` and `clients` are values."""
    out = set()
    for k, v in data.items():
        out.add(k)
        for x in (v if isinstance(v, list) else v.values() if k in ("clients", "versions") else [v]):
            if isinstance(x, dict):
                out |= names_of(x)
    return out


def test_json(lab, field):
    """Every key is in the documentation, and what is there comes; nothing else is printed."""
    with open(os.path.join(ROOT, "docs", "client.md"), encoding="utf-8") as f:
        page = f.read().partition("### What `probe --json` prints")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z0-9_]+)`", "\n".join(x for x in page.splitlines() if x.startswith("| `"))))
    p = Probe(lab, f"https://{HOST}", user="alice")
    check(not p.err, f"standard error: {p.err}")
    there = names_of(p.data)
    check(there <= told, f"not in docs/client.md: {sorted(there - told)}")
    check(told <= there, f"docs/client.md tells of {sorted(told - there)}")
    codes = set(re.findall(r'find\(j?[^"]*"([a-z0-9-]+)"', open(os.path.join(ROOT, "src/client/probe_judge.c"),
                                                               encoding="utf-8").read()))
    with open(os.path.join(ROOT, "docs", "client.md"), encoding="utf-8") as f:
        told = set(re.findall(r"`([a-z0-9-]+)`", f.read()))
    check(len(codes) > 15 and codes <= told, f"not in docs/client.md: {sorted(codes - told)}")


def test_text(lab, field):
    """What a person reads: short, aligned, the worst first, one certificate once."""
    web = lab.ca.issue("probe-text", [HOST])
    field.reload(certificates=[entry("vpn", lab.vpn, "default"), entry("web", web, f"[{SERVER6}]:443")])
    out = Probe(lab, f"https://{HOST}", hosts=BOTH, as_json=False).out
    field.reload(certificates=one_certificate(lab))
    lines = out.splitlines()
    check(lines[0] == f"{HOST}, port 443: 2 addresses", lines[0])
    check(out.count(f"SHA-256 {sha256(leaf_der(lab.vpn[0]))}") == 1, out)
    check(out.count(f"SHA-256 {sha256(leaf_der(web[0]))}") == 1, out)
    check("without SNI  the same" in out and "KB 947026, scenario 1" in out and "Cure: " in out, out)
    check(not any(x.rstrip() != x for x in lines) and len(lines) < 60, out)
    out = Probe(lab, f"https://{HOST}", as_json=False, ca=False).out
    at = [out.index(x) for x in ("error [chain-untrusted]", "warning [pap]", "Who would get in?")]
    check(at == sorted(at), out)
    check(re.search(r"windows-7 +no +\S.*\n +windows-10 +no +the same\n", out), out)


def test_progress(lab, field):
    """On a terminal alone."""
    main, theirs = pty.openpty()
    p = subprocess.run(lab.client.argv([gatehouse_path(), "probe", f"https://{SERVER4}", "--json"]),
                       stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL, timeout=30, check=False)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):
        while part := os.read(main, 65536):
            said += part
    os.close(main)
    json.loads(p.stdout)
    check(b"SSTP ..." in said and said.endswith(b"\r\x1b[K"), f"{said}")
    check(not Probe(lab, f"https://{HOST}").err, "progress without a terminal")


# ---- hostile servers -------------------------------------------------------------------------------------------------

def test_hostile(lab, field):
    """Bounded, no crash, one clear line; side by side, as some take their time."""
    def one(mode):
        with field.server(hostile(mode)) as s:
            p = field.probe(s, user="alice", timeout=SILENT_LIMIT)
            return mode, p, len(s.events("accepted"))
    field_port, lock = field.server, threading.Lock()

    def server(*args, **kw):
        with lock:
            return field_port(*args, **kw)
    field.server = server
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, HOSTILE))
    field.server = field_port
    for mode, p, connections in results:
        check(connections <= CONNECTIONS, f"{mode}: {connections} connections")
        for f in p.data["findings"]:
            check(len(f["text"]) < 300 and f["text"].isprintable() and f["remedy"], f"{mode}: {f}")
        if mode not in HARMLESS:
            bad = [f for f in p.data["findings"] if f["severity"] == "error"]
            check(len(bad) == 1 and p.status == 1, f"{mode}: {bad}")


def test_silent(lab, field):
    """A server that says nothing more, at each stage: less than a minute, and the right words."""
    for stage, code in SILENT.items():
        server, future = field.silent[stage]
        p = future.result(SILENT_LIMIT)
        check(p.seconds < SILENT_LIMIT, f"{stage}: {p.seconds:.0f} s")
        errors = [f["code"] for f in p.data["findings"] if f["severity"] == "error"]
        check(errors == [code], f"{stage}: {p.data['findings']}")
        n = len(server.events("accepted"))
        check(n <= CONNECTIONS, f"{stage}: {n} connections")
