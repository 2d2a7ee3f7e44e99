"""Certificates from an authority (Pebble), without a network outside: certbot and uacme ask for them as the
documentation tells, port 80 answers the challenges, the files are taken into use while calls dial, hold and download.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import threading
import time
import types

import fronts
from lablib import (CLIENT4, POOL_SERVER, ROOT, SERVER4, SERVER6, LabError, check, conf_text, gatehouse_path, need, sh,
                    wait_for)
from sstpclient import Client, Closed, Protocol

BESIDE = 1  # of the other files: see run.py

ACME = f"https://{CLIENT4}:14000/dir"
HOOK = os.path.join(ROOT, "packaging", "uacme-hook.sh")
CHALLENGES = ".well-known/acme-challenge"
NAME = "vpn.example.com"


def over(files, argv):
    """Words that run argv with files laid over the host's, in a mount namespace of its own: {path: file}."""
    mounts = " && ".join(f"mount --bind {file} {path}" for path, file in files.items())
    return ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh", *argv]


class Pebble:
    """The authority, on the client's side of the wire; it finds the names in a hosts file."""

    def __init__(self, lab):
        need("pebble")
        self.dir = lab.fresh_dir("pebble")
        cert = lab.ca.issue("pebble", [CLIENT4])
        conf, hosts = os.path.join(self.dir, "pebble.json"), os.path.join(self.dir, "hosts")
        with open(conf, "w", encoding="ascii") as f:
            json.dump({"pebble": {"listenAddress": f"{CLIENT4}:14000", "managementListenAddress": f"{CLIENT4}:15000",
                                  "certificate": cert[0], "privateKey": cert[1], "httpPort": 80, "tlsPort": 443,
                                  "ocspResponderURL": "", "externalAccountBindingRequired": False}}, f)
        with open(hosts, "w", encoding="ascii") as f:
            f.write(f"127.0.0.1 localhost\n{SERVER4} www.example.com\n{SERVER6} www.example.com\n{SERVER4} {NAME}\n")
        self.proc = lab.client.start(over({"/etc/hosts": hosts}, ["pebble", "-config", conf]),
                                     os.path.join(self.dir, "pebble.log"),
                                     env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0",
                                          "PEBBLE_AUTHZREUSE": "0"})
        wait_for(lambda: lab.client.listening(15000), 10, lambda: f"pebble: {self.proc.log()}")
        self.root = os.path.join(self.dir, "root.pem")
        with open(self.root, "w", encoding="ascii") as f:
            f.write(lab.client.sh("curl", "-sS", "--cacert", lab.ca.cert, f"https://{CLIENT4}:15000/roots/0"))


def documented(first, *pairs):
    """A command of the documentation, one line, with paths replaced."""
    return fronts.replaced(fronts.from_docs(first).split("\n")[0], *pairs).split()


@contextlib.contextmanager
def fixture(lab):
    """The authority, and a door that begins with a certificate of its own making."""
    need("curl", "certbot", "uacme")
    pebble = Pebble(lab)
    webroot, root = lab.fresh_dir("acme"), lab.fresh_dir("root")
    blob = os.urandom(8 << 20)
    fronts.put(os.path.join(root, "blob"), blob)
    boot = [os.path.join(lab.test_dir, x) for x in ("boot.pem", "boot.key")]
    sh([gatehouse_path(), "cert", "new", NAME, "--out-cert", boot[0], "--out-key", boot[1]])
    a = types.SimpleNamespace(pebble=pebble, webroot=webroot, digest=hashlib.sha256(blob).hexdigest(), lab=lab,
                              certbot=lab.fresh_dir("certbot"), uacme=lab.fresh_dir("uacme"))
    with lab.gatehouse(listen={"address": ["0.0.0.0:443", "[::]:443"], "redirect": ["0.0.0.0:80", "[::]:80"],
                               "acme-webroot": webroot}, web=[{"root": root}], vpn={"auth": ["mschapv2", "pap"]},
                       certificates=[{"name": "boot", "chain": boot[0], "key": boot[1], "for": ["default"]}]) as gh:
        a.gh = gh
        yield a


def certbot(a, *argv, account=None):
    return a.lab.server.sh(
        "env", f"REQUESTS_CA_BUNDLE={a.lab.ca.cert}", *argv, "--server", ACME, "--config-dir",
        account or f"{a.certbot}/etc",
        "--work-dir", f"{a.certbot}/work", "--logs-dir", f"{a.certbot}/log", "--non-interactive", "--agree-tos",
        "--register-unsafely-without-email", timeout=120)


def uacme(a, *argv):
    """Its TLS library reads the host's list of authorities."""
    files = {"/etc/ssl/certs/ca-certificates.crt": a.lab.ca.cert}
    command = [argv[0], "-a", ACME, "-c", a.uacme, *argv[1:]]
    return a.lab.server.sh(*over(files, ["env", f"ACME_WEBROOT={a.webroot}", *command]), timeout=120)


def issue_certbot(a):
    certbot(a, *documented("certbot certonly --webroot", ("/var/lib/gatehouse/acme", a.webroot)))


def issue_uacme(a):
    uacme(a, *documented("uacme -y new", ("admin@example.com", "")))
    uacme(a, *documented("uacme -h", ("/usr/local/share/gatehouse/uacme-hook.sh", HOOK), (NAME, "www.example.com")))


def certificates(a):
    """The two groups of the documentation, with the laboratory's paths, as text of the configuration."""
    groups = []
    for old, new, name, rules in (("/etc/letsencrypt", f"{a.certbot}/etc", NAME, f'"{NAME}", "default"'),
                                  ("/etc/ssl/uacme", a.uacme, "www.example.com", '"www.example.com"')):
        text = fronts.from_docs('certificates: ( { chain = "' + old)
        text = fronts.replaced(text, (old, new), (f"/{NAME}/", f"/{name}/"))
        group = re.fullmatch(r"certificates: \( \{(.*)\} \);\s*", text, re.S).group(1)
        groups.append(f'{{ name = "{name}"; for = [ {rules} ];{group} }}')
    return "certificates: (\n" + ",\n".join(groups) + "\n);\n"


def use(a):
    """Takes what was issued into use, as an administrator does the first time."""
    conf = {**a.gh.conf, "certificates": None, "control": {"socket": a.gh.socket_path()}}
    a.gh.write_conf(conf_text(conf) + certificates(a))
    a.gh.cli("reload")


def paths(a, name):
    """Chain and key."""
    if name == NAME:
        return f"{a.certbot}/etc/live/{NAME}/fullchain.pem", f"{a.certbot}/etc/live/{NAME}/privkey.pem"
    return f"{a.uacme}/{name}/cert.pem", f"{a.uacme}/private/{name}/key.pem"


def dial(a, name, host=SERVER4):
    return Client(a.lab.client, host, ca=a.pebble.root, sni=name)


class Load:
    """Calls that dial and bind, calls that are held, and downloads, all of which check the authority's certificate."""

    def __init__(self, a):
        self.a, self.bad, self.stop, self.leaves = a, [], threading.Event(), set()
        self.dials = self.downloads = 0
        self.held = [dial(a, name) for name in (NAME, "www.example.com") * 3]
        for c in self.held:
            c.call("bob", "correct horse")
        self.threads = [threading.Thread(target=self._run, args=(x,)) for x in [self._dial] * 3 + [self._download] * 2]
        for t in self.threads:
            t.start()

    def _run(self, one):
        n = 0
        while not self.stop.is_set():
            n += 1
            try:
                one((NAME, "www.example.com")[n % 2], (SERVER4, SERVER6)[n // 2 % 2])
            except (OSError, Closed, Protocol, TimeoutError, LabError) as e:
                self.bad.append(f"{one.__name__}: {type(e).__name__}: {e}")

    def _dial(self, name, host):
        with dial(self.a, name, host) as c:
            c.call("alice", "wonderland", "pap")
            check(c.ping(POOL_SERVER), "no ping")
            self.leaves.add(c.cert)
            c.hang_up()
        self.dials += 1

    def _download(self, name, host):
        with dial(self.a, name, host) as c:
            c.send(f"GET /blob HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            got = c.read_all(20).partition(b"\r\n\r\n")[2]
        check(hashlib.sha256(got).hexdigest() == self.a.digest, f"{len(got)} bytes, not those")
        self.downloads += 1

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(30)
        for c in self.held:
            check(c.ping(POOL_SERVER), "a held call no longer passes data")
            c.hang_up()


def test_issue_renew_swap(lab, a):
    """Both programs: the first certificate, then renewals that nobody tells us of, under load; nothing fails."""
    issue_certbot(a)
    issue_uacme(a)
    check(not os.listdir(os.path.join(a.webroot, CHALLENGES)), "challenges were left behind")
    use(a)
    for name in (NAME, "www.example.com"):
        with dial(a, name) as c:
            check(c.cert == fronts.leaf(paths(a, name)[0]), f"{name}: not the certificate that was issued")
            c.call("alice", "wonderland")
            check(c.ping(POOL_SERVER), "no ping")
            c.hang_up()
    a.gh.no_sessions()

    since, load = a.gh.mark(), Load(a)
    try:
        for _ in range(2):
            for name in (NAME, "www.example.com"):
                if name == NAME:
                    certbot(a, "certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew")
                else:
                    uacme(a, "uacme", "-f", "-h", HOOK, "issue", name)
                want = fronts.sha256(fronts.leaf(paths(a, name)[0]))
                a.gh.wait_event("certificate-changed", since=since, sha256=want)
                time.sleep(0.5)
    finally:
        load.end()
    check(not load.bad, f"{len(load.bad)} of {load.dials} dials and {load.downloads} downloads: {load.bad[:3]}")
    check(len(load.leaves) == 6, f"calls saw {len(load.leaves)} certificates, not 6")
    check(load.dials > 20 and load.downloads > 5, f"only {load.dials} dials, {load.downloads} downloads")
    check(not a.gh.events("certificate-kept", since) and not a.gh.events("reload-done", since), "not by watching alone")
    print(f"# {load.dials} dials, {load.downloads} downloads beside 4 renewals")
    a.gh.no_sessions()


def test_challenge_is_needed(lab, a):
    """The authority does ask: when certbot writes somewhere else, it is answered 404 and issues nothing."""
    elsewhere = lab.fresh_dir("elsewhere")
    try:
        # An account of its own: the authority may remember what another one has proved.
        certbot(a, "certbot", "certonly", "--webroot", "-w", elsewhere, "-d", NAME, "--cert-name", "fails",
                account=lab.fresh_dir("account"))
    except LabError as e:
        check("Some challenges have failed" in str(e) or "status 1" in str(e), str(e))
        with open(f"{a.certbot}/log/letsencrypt.log", encoding="utf-8") as f:
            check("returned 404" in f.read(), "the authority was not answered 404")
    else:
        check(False, "a certificate without a challenge that was answered")


def hook(a, *argv, ok=(0,), webroot=None):
    return sh(["env", f"ACME_WEBROOT={webroot or a.webroot}", HOOK, *argv], ok=ok)


def test_hook(lab, a):
    """The hook by itself: what it writes is served, what is no token is refused, other challenges are declined."""
    folder = os.path.join(lab.test_dir, "new")
    hook(a, "begin", "http-01", NAME, "tok-EN_1", "tok-EN_1.thumb", webroot=folder)
    path = os.path.join(folder, CHALLENGES, "tok-EN_1")
    with open(path, "rb") as f:
        check(f.read() == b"tok-EN_1.thumb", "another content")
    check(stat.S_IMODE(os.stat(path).st_mode) == 0o644 and os.listdir(os.path.dirname(path)) == ["tok-EN_1"],
          "not readable, or something beside it")
    for method in ("done", "failed"):
        hook(a, method, "http-01", NAME, "tok-EN_1", "x", webroot=folder)
        check(not os.listdir(os.path.dirname(path)), "it is still there")
    hook(a, "begin", "http-01", NAME, "served", "served.thumb")
    out = lab.client.sh("curl", "-sS", f"http://{SERVER4}/{CHALLENGES}/served")
    check(out == "served.thumb", f"port 80 says {out!r}")
    hook(a, "done", "http-01", NAME, "served", "served.thumb")
    for token in ("../../x", "a/b", "", "a.b", "a b", "$(id)"):
        hook(a, "begin", "http-01", NAME, token, "x", ok=(1,))
    for kind in ("dns-01", "tls-alpn-01"):
        hook(a, "begin", kind, NAME, "t", "x", ok=(1,))
    hook(a, "begin", "http-01", ok=(2,))
    hook(a, "begone", "http-01", NAME, "t", "x", ok=(2,))


def test_ocsp_by_cron(lab):
    """The line for cron as it is written: it fetches a response, which is stapled; a stale one is not."""
    need("openssl")
    live, etc = os.path.join(lab.test_dir, "live"), lab.fresh_dir("etc")
    os.makedirs(os.path.join(live, NAME))
    url = f"http://{CLIENT4}:8888"
    cert = lab.ca.issue("ocsp", [NAME])
    base = cert[1][:-len(".key")]
    with open(base + ".ext", "a", encoding="ascii") as f:
        f.write(f"authorityInfoAccess=OCSP;URI:{url}\n")
    sh(["openssl", "x509", "-req", "-sha256", "-days", "20", "-in", base + ".csr", "-CA", lab.ca.cert, "-CAkey",
        lab.ca.key, "-set_serial", "0x4711", "-extfile", base + ".ext", "-out", base + ".crt"])
    for name, parts in (("cert.pem", [base + ".crt"]), ("chain.pem", [lab.ca.cert]),
                        ("fullchain.pem", [base + ".crt", lab.ca.cert]), ("privkey.pem", [cert[1]])):
        fronts.put(os.path.join(live, NAME, name), *parts)
    index = os.path.join(lab.test_dir, "index.txt")
    with open(index, "w", encoding="ascii") as f:
        f.write(f"V\t361231235959Z\t\t4711\tunknown\t/CN={NAME}\n")
    fields = fronts.from_docs("17 */6").split("\n")[0].split(None, 6)
    check(fields[5] == "root", f"the user of {fields}")
    command = fronts.replaced(fields[6], ("/etc/letsencrypt/live", live), ("/etc/gatehouse", etc))
    staple = os.path.join(etc, "vpn.ocsp")
    responder = lab.client.start(
        ["openssl", "ocsp", "-index", index, "-port", "8888", "-rsigner", lab.ca.cert, "-rkey", lab.ca.key,
         "-CA", lab.ca.cert, "-nmin", "60"], os.path.join(lab.test_dir, "responder.log"))

    def shown():
        return lab.client.sh("openssl", "s_client", "-status", "-connect", f"{SERVER4}:443", "-servername", NAME,
                             "-CAfile", lab.ca.cert, stdin=b"")
    with lab.gatehouse(certificates=[{"name": "vpn", "chain": f"{live}/{NAME}/fullchain.pem",
                                      "key": f"{live}/{NAME}/privkey.pem", "ocsp": staple, "for": ["default"]}]) as gh:
        check("OCSP response: no response sent" in shown(), "something is stapled before there is a response")
        wait_for(lambda: lab.client.listening(8888), 5, lambda: f"the responder: {responder.log()}")
        lab.server.sh("sh", "-c", command)
        wait_for(lambda: "OCSP Response Status: successful" in shown(), 5, "a stapled response")
        check("Cert Status: good" in shown(), "another status")
        responder.close()  # from here on nobody can be asked
        lab.server.sh("sh", "-c", command, ok=(1,))
        time.sleep(1.5)
        check("Cert Status: good" in shown(), "a failed refresh took the good response away")
        with Client(lab.client, SERVER4, ca=lab.ca.cert, sni=NAME) as c:
            c.call("alice", "wonderland")
            c.hang_up()
        check(not gh.events("ocsp-refused"), "a response was refused")
    shutil.rmtree(live)
