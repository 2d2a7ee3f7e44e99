"""`gatehouse connect` against our own server: logins, certificates, proxies, passwords, processes, status, its words.
What it does to the network, and how it dials again, is in test_connect_net.py.
"""

import contextlib
import glob
import hashlib
import json
import os
import pwd
import re
import signal
import subprocess
import time

import fronts
import test_paths
from connectlib import EXIT
from connecttools import (OwnServer, Recorder, Terminal, dial, goes_up, nothing_left, ping_by, plain_conf, refused,
                          secret_file, side_by_side, status)
from lablib import (CLIENT4, INSIDE4, POOL_SERVER, SERVER4, SERVER6, Ca, check, engine_user, gatehouse_path, leaf_der,
                    need, parse_log, sh, sha256, wait_for)

BESIDE = 1  # of the other files: see run.py

SECRET = "correct-horse-" + os.urandom(6).hex()  # zoe's: no other process of this machine has these words
TRANSFER = 50 << 20


@contextlib.contextmanager
def fixture(lab):
    users = os.path.join(lab.test_dir, "users")
    with open(lab.users, encoding="utf-8") as f:
        text = f.read()
    with open(users, "w", encoding="utf-8") as f:
        f.write(text + f'zoe plain:"{SECRET}"\n')
    os.chmod(users, 0o600)
    with lab.gatehouse(vpn={"auth": ["mschapv2", "chap", "pap"], "users": users}) as gh:
        yield gh


# ---- logging in ----------------------------------------------------------------------------------------------------

def test_methods(lab, gh):
    """Each method that both sides allow; by itself MS-CHAPv2; the domain of DOMAIN\\user is the server's business."""
    bob = {"user": "bob", "password": "correct horse"}

    def by(method, **kw):
        return lambda: goes_up(dial(lab, **kw), method=method, hash="sha256")
    with nothing_left(lab.client):
        side_by_side({
            "default": by("mschapv2"), "bob": by("mschapv2", **bob),
            "mschapv2": by("mschapv2", **bob, args=["--auth", "mschapv2"]),
            "chap": by("chap", **bob, args=["--auth", "chap"]),
            "pap": by("pap", args=["--auth", "pap"]),
            "in the file": by("chap", **bob, conf={"login": {"auth": ["chap", "pap"]}}),
            "eap is not the server's": by("mschapv2", args=["--auth", "eap-mschapv2,mschapv2"]),
            "domain": by("mschapv2", user="WONDERLAND\\alice"),
            "domain, pap": by("pap", user="WONDERLAND\\alice", args=["--auth", "pap"])})
    gh.no_sessions()


def test_no_method(lab, _gh):
    """A server that takes PAP or CHAP alone is not shown the password unless the user says so."""
    with OwnServer(lab, 1, vpn={"auth": ["pap"]}) as pap, OwnServer(lab, 2, vpn={"auth": ["chap"]}) as chap:
        bob = {"user": "bob", "password": "correct horse"}
        side_by_side({
            "pap": lambda: refused(dial(lab, pap.url()), "no-method", "--auth", windows="RasClient 20227 (919)"),
            "chap": lambda: refused(dial(lab, chap.url(), **bob), "no-method", "--auth"),
            "pap, chap allowed": lambda: refused(dial(lab, pap.url(), args=["--auth", "mschapv2,chap"]), "no-method"),
            "pap allowed": lambda: goes_up(dial(lab, pap.url(), args=["--auth", "mschapv2,pap"]), False, method="pap"),
            "chap allowed": lambda: goes_up(dial(lab, chap.url(), **bob, args=["--auth", "chap"]), False,
                                            method="chap")})


def test_refused_login(lab, gh):
    """The code of MS-CHAPv2 is told, and what it means; nobody is locked out by a second try."""
    since = gh.mark()
    with nothing_left(lab.client):
        side_by_side({
            "wrong": lambda: refused(dial(lab, password="looking-glass"), "login", "691", "password",
                                     windows="RasClient 20227 (691)"),
            "unknown": lambda: refused(dial(lab, user="mallory"), "login", "691"),
            "disabled": lambda: refused(dial(lab, user="carol", password="secret"), "login", "647", "disabled",
                                        windows="RasClient 20227 (647)"),
            "pap": lambda: refused(dial(lab, user="erin", password="x", args=["--auth", "pap"]), "login"),
            "chap": lambda: refused(dial(lab, user="bob", password="x", args=["--auth", "chap"]), "login")})
        with dial(lab, password="through") as c:  # without --once: a first dial does not try again either
            check(c.wait(10) == EXIT["login"] and not c.events("retry"), f"it tries again: {c.tail()}")
            c.proc = None
    check(len(gh.events("login-failed", since)) == 6, f"{len(gh.events('login-failed', since))} logins were tried")


def test_sha1_alone(lab, _gh):
    """
    Of HAProxy's certificate the server knows only the SHA-1, so it offers no other binding: the client takes that.
    With both hashes known SHA-256 is taken.
    """
    need("haproxy")
    chain, key = lab.ca.issue("front", ["vpn.example.com"])
    der = leaf_der(chain)
    fronts.put(os.path.join(lab.test_dir, "front.pem"), chain, key)
    both = [f"{h}:{hashlib.new(h, der).hexdigest()}" for h in ("sha1", "sha256")]
    text = "".join(f"listen door-{port}\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n"
                   f"  bind :{port} ssl crt {lab.test_dir}/front.pem\n  server s 127.0.0.1:{port + 10}\n"
                   for port in (8453, 8454))

    def behind(number, hashes):
        return OwnServer(lab, number, offload={"listen": [f"127.0.0.1:{8460 + number}"], "from": ["127.0.0.1"],
                                               "certificates": hashes})
    with behind(3, both[:1]) as old, behind(4, both), fronts.Haproxy(lab, text, 8454):
        side_by_side({
            "SHA-1": lambda: goes_up(dial(lab, "https://vpn.example.com:8453/"), hash="sha1"),
            "both": lambda: goes_up(dial(lab, "https://vpn.example.com:8454/"), hash="sha256")})
        check(old.wait_event("call-up")["user"] == "alice", "the call came by another way")


# ---- where to ------------------------------------------------------------------------------------------------------

def test_addresses(lab, _gh):
    """Names and addresses of both families; where one family does not answer the other is used, at once."""
    def to(server, host, *hosts, within=8000):
        def job():
            up = goes_up(dial(lab, host, hosts=hosts), server=server)
            check(up["ms"] < within, f"it took {up['ms']} ms")
        return job
    four, six, gone4, gone6 = f"{SERVER4}:443", f"[{SERVER6}]:443", "192.0.2.99", "2001:db8:1::99"
    name = "both.example.com"
    with nothing_left(lab.client):
        side_by_side({
            "IPv4": to(four, SERVER4), "IPv6": to(six, f"[{SERVER6}]"),
            "name": to(four, "vpn.example.com"), "name of IPv6": to(six, "six.example.com"),
            "port and path": to(four, "https://vpn.example.com:443/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/"),
            "IPv6 is dead": to(four, name, (gone6, name), (SERVER4, name), within=2500),
            "IPv4 is dead": to(six, name, (gone4, name), (SERVER6, name), within=2500),
            "IPv6 refuses": to(four, name, ("::1", name), (SERVER4, name), within=2500)})
        side_by_side({
            "no such port": lambda: refused(dial(lab, "https://vpn.example.com:9/"), "unreachable", "refused",
                                            windows="RasSstp 1"),
            "no way": lambda: refused(dial(lab, "https://203.0.113.200/"), "unreachable"),
            "no name": lambda: refused(dial(lab, "nowhere.example.com"), "resolve", "nowhere.example.com"),
            "no SSTP there": lambda: refused(dial(lab, "https://vpn.example.com/elsewhere"), "http",
                                             windows="RasSstp 4")})


# ---- data ----------------------------------------------------------------------------------------------------------

def test_transfer(lab, gh):
    """50 MiB each way, compared by hash, and the counters of both ends."""
    need("curl")
    lab.inside_http.blobs["/blob"] = data = os.urandom(TRANSFER)
    digest, path = hashlib.sha256(data).hexdigest(), os.path.join(lab.test_dir, "blob")
    with open(path, "wb") as f:
        f.write(data)
    with dial(lab, alone=True, args=["--route", "198.51.100.0/24"]) as c:
        up = c.wait_up()
        check(up["routes"] == ["198.51.100.0/24"], f"{up}")
        c.ping(POOL_SERVER)
        c.ping(INSIDE4)
        took = []
        for argv in (["-o", path + ".got", f"http://{INSIDE4}/blob"], ["-T", path, f"http://{INSIDE4}/put"]):
            began = time.monotonic()
            out = c.ns.sh("curl", "-sS", *argv).strip()
            took.append(f"{time.monotonic() - began:.1f}")
        check(out == digest, "what went up differs")
        with open(path + ".got", "rb") as f:
            check(sha256(f.read()) == digest, "what came down differs")
        print(f"# {TRANSFER >> 20} MiB by our client: down {took[0]} s, up {took[1]} s")
        call, session = status(c)["call"], gh.session("alice")
        for k in ("rx_bytes", "tx_bytes"):
            check(call[k] > TRANSFER and session[k] > TRANSFER, f"{k}: {call[k]}, at the server {session[k]}")
        check(call["drop_gate"] + call["drop_odd"] + call["drop_mtu"] < 20, f"drops: {call}")
    lab.inside_http.blobs.clear()
    for p in (path, path + ".got"):
        os.unlink(p)


def link_mtu(c):
    return json.loads(c.ns.sh("ip", "-j", "link", "show", "dev", c.interface))[0]["mtu"]


def test_mtu(lab, _gh):
    """The interface has what both ends take; packets of just that size pass both ways, larger ones do not enter."""
    def job(mtu, address=POOL_SERVER, **kw):
        def run():
            with dial(lab, **kw) as c:
                up = c.wait_up()
                check(up["mtu"] == link_mtu(c) == mtu, f"MTU {up['mtu']}, of the interface {link_mtu(c)}, not {mtu}")
                ping_by(c, address, mtu - 28)
                ping_by(c, address, mtu - 27, ok=False)
        return run
    with OwnServer(lab, 1, vpn={"mtu": 1280}) as small, OwnServer(lab, 2, vpn={"mtu": 4087}) as large:
        side_by_side({"the server's": job(1280, small.address, host=small.url()), "usual": job(1400),
                      "ours": job(1300, conf={"tunnel": {"mtu": 1300}}),
                      "both large": job(4087, large.address, host=large.url(), conf={"tunnel": {"mtu": 4087}})})


# ---- certificates --------------------------------------------------------------------------------------------------

def pin_of(chain):
    return "sha256:" + sha256(leaf_der(chain))


def make_crl(ca, folder, *revoked):
    """A list of this authority that has these certificates, in PEM."""
    index, conf, out = (os.path.join(folder, n) for n in ("index", "ca.conf", "list.pem"))
    with open(index, "w", encoding="ascii") as f:
        for chain in revoked:
            serial = sh(["openssl", "x509", "-in", chain, "-noout", "-serial"]).strip().partition("=")[2]
            f.write(f"R\t401231235959Z\t250101000000Z\t{serial}\tunknown\t/CN=x\n")
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ndefault_md=sha256\ncrl_extensions=x\n"
                "[x]\nauthorityKeyIdentifier=keyid\n")
    sh(["openssl", "ca", "-config", conf, "-gencrl", "-crldays", "9", "-cert", ca.cert, "-keyfile", ca.key,
        "-out", out])
    return out


def test_trust(lab, _gh):
    """An authority, a pin, both, neither; --insecure goes on, and says what it gives up."""
    nobody = {"server": {"ca": None}}  # but the system's authorities
    good, bad = ["--pin", pin_of(lab.vpn[0])], ["--pin", pin_of(lab.www[0])]

    def insecure():
        c = dial(lab, conf=nobody, args=["--insecure"])
        goes_up(c)
        warning, = c.events("warning")
        check("NOT verified" in warning["text"] and "--pin" in warning["remedy"], f"{warning}")
        check("NOT VERIFIED" in c.events("step", step="tls")[0]["text"], f"{c.events('step')}")

    def pinned():
        c = dial(lab, conf=nobody, args=bad + good)
        goes_up(c)
        check("pinned" in c.events("step", step="tls")[0]["text"], f"{c.events('step')}")

    def no(*texts, **kw):
        return lambda: refused(dial(lab, **kw), "certificate", *texts, windows="RasSstp 1")
    side_by_side({
        "--ca": lambda: goes_up(dial(lab, conf=nobody, args=["--ca", lab.ca.cert])),
        "nothing": no("--ca", "--pin", conf=nobody), "pin": pinned, "wrong pin": no(conf=nobody, args=bad),
        "wrong pin, good authority": no(args=bad), "pin and authority": lambda: goes_up(dial(lab, args=good)),
        "pin, wrong authority": no(conf={"server": {"ca": Ca(lab.fresh_dir("stranger")).cert}}, args=good),
        "insecure": insecure})


def test_bad_certificates(lab, _gh):
    """Names, dates, usage: each fault is told by its name, and as the event that Windows has for it."""
    names = {n: f"{n}.example.com" for n in ("expired", "early", "usage", "any")}
    pairs = {"expired": lab.ca.issue("expired", [names["expired"]], days=2, ago=5),
             "early": lab.ca.issue("early", [names["early"]], ago=-5),
             "usage": lab.ca.issue("usage", [names["usage"]], eku="clientAuth"),
             "any": lab.ca.issue("any", [names["any"]], eku="anyExtendedKeyUsage")}
    hosts = [(SERVER4, n) for n in (*names.values(), "vpn.example.org")]

    def no(name, *texts, windows="RasSstp 1", **kw):
        return lambda: refused(dial(lab, f"https://{name}:{port[name]}/", hosts=hosts, **kw), "certificate", *texts,
                               windows=windows)
    with contextlib.ExitStack() as stack:
        port = {"vpn.example.org": 443, SERVER4: 443}
        for n, (key, pair) in enumerate(pairs.items()):
            port[names[key]] = openssl_server(lab, stack, 8450 + n, pair)
        side_by_side({
            "name": no("vpn.example.org", "vpn.example.org", "www.example.com"),
            "expired": no(names["expired"], "expired"), "early": no(names["early"], "not valid before"),
            "expired, pinned": no(names["expired"], args=["--pin", pin_of(pairs["expired"][0])],
                                  conf={"server": {"ca": None}}),
            "usage": no(names["usage"], windows="RasSstp 16"),
            "any usage": lambda: accepted(dial(lab, f"https://{names['any']}:{port[names['any']]}/", hosts=hosts))})


def accepted(c):
    """Its certificate is; what answers there knows no SSTP."""
    with c:
        c.wait_event("step", step="tls")
        check("certificate good" in c.events("step", step="tls")[0]["text"], f"{c.events()}")


def openssl_server(lab, stack, port, pair, *more):
    """A TLS server that serves what ours would not, or not so."""
    proc = lab.server.start(["openssl", "s_server", "-accept", port, "-cert", pair[0], "-cert_chain", pair[0], "-key",
                             pair[1], "-www", "-quiet", *more], os.path.join(lab.test_dir, f"s_server-{port}.log"))
    stack.callback(proc.close)
    wait_for(lambda: lab.server.listening(port) or not proc.alive(), 5, lambda: f"s_server: {proc.log()}")
    check(proc.alive(), f"s_server: {proc.log()}")
    return port


def test_revocation(lab, _gh):
    """A list in a file and in a folder: the leaf on it, not on it, no list of its authority; a stapled response."""
    host = "vpn.example.com"
    revoked = lab.ca.issue("revoked", [host])
    stranger = Ca(lab.fresh_dir("stranger"))
    folders = [lab.fresh_dir(n) for n in ("list", "empty", "strange")]
    crl = make_crl(lab.ca, folders[0], revoked[0])
    folder, none = lab.fresh_dir("folder"), lab.fresh_dir("none")
    os.symlink(make_crl(stranger, folders[2]), os.path.join(folder, "a.pem"))
    sh(["openssl", "crl", "-in", crl, "-outform", "DER", "-out", os.path.join(folder, "b.crl")])
    staples = {}
    for n, s in enumerate(("V", "R")):
        staples[s] = os.path.join(lab.test_dir, f"staple-{n}.der")
        lab.ca.ocsp(lab.vpn[0], staples[s], status=s)

    def with_list(path, port=443):
        return dial(lab, f"https://{host}:{port}/", conf={"server": {"crl": path}})
    with contextlib.ExitStack() as stack:
        bad = openssl_server(lab, stack, 8450, revoked)
        good_staple, bad_staple = (openssl_server(lab, stack, 8451 + n, lab.vpn, "-status_file", staples[s])
                                   for n, s in enumerate(("V", "R")))
        side_by_side({
            "file, good": lambda: goes_up(with_list(crl)), "folder, good": lambda: goes_up(with_list(folder)),
            "file, revoked": lambda: refused(with_list(crl, bad), "certificate", "revoked"),
            "folder, revoked": lambda: refused(with_list(folder, bad), "certificate", "revoked"),
            "stranger's list": lambda: refused(with_list(os.path.join(folder, "a.pem")), "certificate"),
            "empty folder": lambda: refused(with_list(none), "configuration", "no revocation list"),
            "stapled, revoked": lambda: refused(dial(lab, f"https://{host}:{bad_staple}/"), "certificate", "revoked"),
            "stapled, good": lambda: accepted(dial(lab, f"https://{host}:{good_staple}/"))})


# ---- web proxies ---------------------------------------------------------------------------------------------------

OPEN, DENIED, DIGEST = 3130, 3131, 3132


@contextlib.contextmanager
def second_squid(lab):
    """squid with a port for everybody, one that denies everything, one that wants Digest. Yields its access log."""
    need("squid")
    folder = lab.fresh_dir("squid-too")
    os.chmod(folder, 0o777)
    users, access, conf, hosts = (os.path.join(folder, n) for n in ("users", "access.log", "squid.conf", "hosts"))
    realm, user, password = "proxy", test_paths.PROXY_USER, test_paths.PROXY_PASSWORD
    for path, text in ((users, f"{user}:{realm}:{hashlib.md5(f'{user}:{realm}:{password}'.encode()).hexdigest()}\n"),
                       (hosts, test_paths.HOSTS), (conf, f"""http_port {OPEN}
http_port {DENIED}
http_port {DIGEST}
hosts_file {hosts}
dns_nameservers 127.0.0.1
auth_param digest program /usr/lib/squid/digest_file_auth -c {users}
auth_param digest realm {realm}
acl known proxy_auth REQUIRED
acl open localport {OPEN}
acl denied localport {DENIED}
http_access deny denied
http_access allow open
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
""")):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    proc = lab.client.start(["squid", "-N", "-f", conf], os.path.join(folder, "squid.out"))
    try:
        wait_for(lambda: lab.client.listening(DIGEST) or not proc.alive(), 20, lambda: f"squid: {proc.log()}")
        check(proc.alive(), f"squid: {proc.log()}")
        yield access
    finally:
        proc.close()


def proxy_of(log, since=0):
    with open(log, encoding="utf-8") as f:
        return f.read()[since:]


def test_proxies(lab, gh):
    """squid with no login, Basic, Digest, a wrong password, none given, a proxy that denies; tinyproxy."""
    user, password = test_paths.PROXY_USER, test_paths.PROXY_PASSWORD
    secret, wonderland = secret_file(lab, "proxy", password), secret_file(lab, "alice", "wonderland")

    def of(port, word):
        return {"https_proxy": f"http://{user}:{word}@127.0.0.1:{port}"}

    def through(port, **kw):
        return dial(lab, **{"args": ["--proxy", f"http://127.0.0.1:{port}"], **({"args": []} if "env" in kw else {})},
                    **kw)

    def good(port, logged=True, **kw):
        def run():
            c = through(port, **kw)
            goes_up(c, proxy=f"127.0.0.1:{port}")
            step = c.events("step", step="proxy")[0]["text"]
            check(("logged in" in step) == logged, f"the step says {step!r}")
        return run

    def asked(port):
        conf = plain_conf(lab, 9, server={"url": "https://vpn.example.com/"},
                          login={"user": "alice", "password-file": wonderland})
        with Terminal(lab, "-c", conf, "--proxy", f"http://{user}@127.0.0.1:{port}") as t:
            t.until(f"^Password of {user} at the proxy: ")
            t.type(password + "\n")
            t.until("^Connected in")
            check(password not in t.text, "the terminal shows the password")
            check(t.end(signal.SIGINT) == 0, f"{t.text}")

    def bad(port, cause, *texts, password=None):
        return lambda: refused(through(port, **({"env": of(port, password)} if password else {})), cause, *texts,
                               windows="RasSstp 23" if cause == "proxy-login" else "RasSstp 1")
    in_file = {"proxy": {"user": user, "password-file": secret}}
    with contextlib.ExitStack() as stack:
        basic = stack.enter_context(test_paths.squid(lab))
        other = stack.enter_context(second_squid(lab))
        tiny = stack.enter_context(test_paths.tinyproxy(lab))
        since = gh.mark()
        side_by_side({
            "open": good(OPEN, logged=False), "tinyproxy": good(test_paths.TINYPROXY, logged=False),
            "basic": good(test_paths.SQUID, conf=in_file), "digest": good(DIGEST, conf=in_file),
            "basic, by the URL": good(test_paths.SQUID, env=of(test_paths.SQUID, password)),
            "digest, by the URL": good(DIGEST, env=of(DIGEST, password)),
            "basic, asked": lambda: asked(test_paths.SQUID),
            "basic, wrong": bad(test_paths.SQUID, "proxy-login", "refuses user and password", password="no"),
            "digest, wrong": bad(DIGEST, "proxy-login", "refuses user and password", password="no"),
            "basic, none": bad(test_paths.SQUID, "proxy-login", "407", "Basic"),
            "digest, none": bad(DIGEST, "proxy-login", "407", "Digest"),
            "denied": bad(DENIED, "proxy-refused", "403"), "nobody there": bad(3999, "proxy-unreachable", "3999")})
        ups = gh.events("call-up", since)
        check(len(ups) == 7 and all(e["peer"].startswith(CLIENT4 + ":") for e in ups), f"{[e['peer'] for e in ups]}")
        check(user in proxy_of(basic) and user in proxy_of(other), "the proxies know no user")
        check("vpn.example.com" in proxy_of(tiny), f"tinyproxy saw no name: {proxy_of(tiny)}")


def test_proxy_of_environment(lab, _gh):
    """https_proxy is used, no_proxy and --proxy none leave it out, --proxy goes first; CONNECT has SSTPVERSION."""
    with Recorder(lab, 3140) as one, Recorder(lab, 3141) as two:
        env = {"https_proxy": one.url}

        def job(proxy, args=(), conf=None, **more):
            return lambda: goes_up(dial(lab, env={**env, **more}, args=list(args), conf=conf), proxy=proxy)
        side_by_side({
            "https_proxy": job("127.0.0.1:3140"), "--proxy": job("127.0.0.1:3141", ["--proxy", two.url]),
            "none": job("", ["--proxy", "none"]), "no_proxy": job("", no_proxy="localhost,.example.com"),
            "another's no_proxy": job("127.0.0.1:3140", no_proxy="example.org"),
            "file": job("", conf={"proxy": {"none": ["vpn.example.com"]}})})
        check((len(one.heads), len(two.heads)) == (2, 1), f"{one.heads} {two.heads}")
        for head in one.heads + two.heads:
            check(head.startswith("CONNECT vpn.example.com:443 HTTP/1.1\r\n"), head)
            check("\r\nSSTPVERSION: 1.0\r\n" in head and "\r\nHost: vpn.example.com:443\r\n" in head, head)


def test_nat(lab, gh):
    """Two homes behind a router that hides them: over IPv4 and IPv6, and both at once."""
    names = {"nat4.example.com": "203.0.113.2", "nat6.example.com": "2001:db8:2::2"}
    with test_paths.behind_nat(lab) as homes:
        since = gh.mark()
        side_by_side({f"{home.label} {name}": lambda home=home, name=name: goes_up(
            dial(lab, name, ns=home, hosts=[(names[name], name)])) for home in homes for name in names})
        hosts = {e["peer"].rpartition(":")[0] for e in gh.events("call-up", since)}
        check(hosts == {"203.0.113.1", "[2001:db8:2::1]"}, f"the server saw {hosts}")


# ---- the password --------------------------------------------------------------------------------------------------

def shown_by_proc(secret):
    """Processes whose command line or environment has these words."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        with contextlib.suppress(OSError), open(path, "rb") as f:
            if secret.encode() in f.read():
                found.append(path)
    return found


def test_password(lab, gh):
    """From a file, a credential, a terminal; no process shows it; nowhere to be had: told at once, exit 2."""
    folder = lab.fresh_dir("credentials")
    with open(os.path.join(folder, "password"), "w", encoding="ascii") as f:
        f.write(SECRET + "\n")
    credential = {"CREDENTIALS_DIRECTORY": folder}

    def from_file():
        with dial(lab, user="zoe", password=SECRET) as c:
            c.wait_up()
            check(not shown_by_proc(SECRET), f"the password stands in {shown_by_proc(SECRET)}")
            ping_by(c)

    def from_credential():
        goes_up(dial(lab, user=None, conf={"login": {"user": "zoe"}}, env=credential))

    def from_terminal():
        with Terminal(lab, "-c", plain_conf(lab, 1), f"https://{SERVER4}/") as t:
            t.until("Password of zoe: ")
            t.type(SECRET + "\n")
            t.until("^Connected in")
            check(SECRET not in t.read(), "the terminal shows the password")
            check(not shown_by_proc(SECRET), f"the password stands in {shown_by_proc(SECRET)}")
            t.type("\x03")  # what Ctrl-C sends reaches every process of the terminal, if it is theirs
            t.end(signal.SIGINT)
            check(t.p.returncode == 0 and "Disconnected" in t.text, f"{t.p.returncode}: {t.text}")

    def says(argv, *words, env=None):
        def run():
            r = subprocess.run(lab.client.argv([gatehouse_path(), "connect", *argv]), stdin=subprocess.DEVNULL,
                               capture_output=True, timeout=10, env={**os.environ, **(env or {})}, check=False)
            err = r.stderr.decode()
            check(r.returncode == 2 and not r.stdout and all(w in err for w in words), f"{r.returncode}: {err}")
            check(err.count("\n") == 1, f"more than a line: {err}")
        return run
    empty, nothing = os.path.join(folder, "empty"), lab.fresh_dir("no-credential")
    for path in (empty, os.path.join(nothing, "password")):
        with open(path, "w", encoding="ascii") as f:
            f.write("\n")
        os.chmod(path, 0o600)
    with nothing_left(lab.client):
        side_by_side({
            "file": from_file, "credential": from_credential, "terminal": from_terminal,
            "nowhere": says(["-c", plain_conf(lab, 2)], "no password: ", "--password-file", "terminal"),
            "empty credential": says(["-c", plain_conf(lab, 7)], "no password: ", "--password-file",
                                     env={"CREDENTIALS_DIRECTORY": nothing}),
            "no such file": says(["-c", plain_conf(lab, 3), "--password-file", folder + "/x"], folder + "/x"),
            "empty file": says(["-c", plain_conf(lab, 4), "--password-file", empty], "empty"),
            "as an argument": says(["-c", plain_conf(lab, 5), "https://zoe:x@192.0.2.2/"], "login"),
            "the proxy's as an argument": says(["-c", plain_conf(lab, 6), "--proxy", "http://zoe:x@192.0.2.2/"], "ps")})
    gh.no_sessions()
    check(SECRET not in "".join(e["text"] for e in gh.log()), "the server's log has the password")


# ---- processes -----------------------------------------------------------------------------------------------------

def facts(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: v.split() for k, _, v in (line.partition(":") for line in f)}


def test_privileges(lab, _gh):
    """Engine and resolver are the account, with no capability, no new privileges and a seccomp filter; not the rest."""
    uid = str(pwd.getpwnam(engine_user()).pw_uid)
    with dial(lab, alone=True) as c:
        c.wait_up()
        pids = c.pids("")
        check(len(pids) == 2 and c.engine_pid() in pids, f"{len(pids)} processes beside the monitor: {pids}")
        for pid in pids:
            f = facts(pid)
            ids = f"{pid}: {f['Uid']} {f['Gid']} {f['Groups']}"
            check(set(f["Uid"]) == {uid} and "0" not in f["Gid"] and not f["Groups"], ids)
            for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                check(int(f[k][0], 16) == 0, f"{pid}: {k} is {f[k]}")
            check(f["NoNewPrivs"] == ["1"] and f["Seccomp"] == ["2"], f"{pid}: {f['NoNewPrivs']} {f['Seccomp']}")
        check(facts(c.proc.pid)["Uid"][0] == "0", "the monitor is not root")
        sockets = c.ns.sh("ss", "-Htnp", "dst", f"{SERVER4}:443")
        check(f"pid={c.engine_pid()}," in sockets and f"pid={c.proc.pid}," not in sockets, f"the call is {sockets}")
        ping_by(c)


def test_not_root(lab, _gh):
    """Told at once, with what to do."""
    need("setpriv")
    with open(gatehouse_path(), "rb") as f:  # whatever folder it is in
        program = f"/proc/self/fd/{f.fileno()}"
        conf = plain_conf(lab, 1, login={"user": "x", "password-file": "/etc/issue"})
        r = subprocess.run(lab.client.argv(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program,
                                            "connect", "-c", conf]), capture_output=True, timeout=10,
                           pass_fds=[f.fileno()], check=False)
    check(r.returncode == EXIT["local"], f"status {r.returncode}: {r.stderr}")
    check(b"needs root" in r.stderr and b"sudo" in r.stderr, f"{r.stderr}")


# ---- status --------------------------------------------------------------------------------------------------------

def test_status(lab, _gh):
    """While up and while waiting, as JSON and as text."""
    with dial(lab, alone=True) as c:
        up = c.wait_up()
        c.ping(POOL_SERVER)
        s = status(c)
        check((s["role"], s["state"], s["interface"], s["attempts"]) == ("client", "up", c.interface, 1), f"{s}")
        call = s["call"]
        for k in ("server", "tls", "cipher", "method", "ip", "peer", "mtu"):
            check(call[k] == up[k], f"{k}: {call[k]!r}, the event has {up[k]!r}")
        check(call["offload"] in ("tso,uso", "tso", "off"), f"{s}")
        check(call["rx_packets"] >= 2 and call["tx_packets"] >= 2 and "retry_in_ms" not in s, f"{s}")
        text = status(c, as_json=False)
        for words in (": up\n", f"{up['ip']} on {c.interface}", "MTU 1400", up["server"], "login by mschapv2",
                      f"offloads {call['offload']}\n"):
            check(words in text, f"no {words!r} in {text}")
    with dial(lab, "https://vpn.example.com:9/", conf={"reconnect": {"first": 30, "max": 60}}) as c:
        c.wait_event("retry")
        s = status(c)
        check(s["state"] == "waiting" and 10000 < s["retry_in_ms"] <= 30000 and "call" not in s, f"{s}")
        last = s["last_end"]
        check(last["cause"] == "unreachable" and not last["was_up"] and last["remedy"], f"{s}")
        text = status(c, as_json=False)
        check(": waiting\n" in text and "next dial" in text and "no address of the server answers: " in text, text)
    status(c, ok=(3,))  # it runs no more


def test_two_clients(lab, gh):
    """Two interfaces beside each other, each with a status; a second one for the same interface is told so."""
    folder = os.path.join(lab.run_dir, "both")
    with nothing_left(lab.client):
        one = dial(lab, conf={"control": {"folder": folder}})
        two = dial(lab, conf={"control": {"folder": folder}}, user="bob", password="correct horse")
        third = dial(lab, conf={"control": {"folder": folder}, "tunnel": {"interface": one.interface}})
        with one, two:
            ups = [c.wait_up() for c in (one, two)]
            check(ups[0]["ip"] != ups[1]["ip"] and ups[0]["interface"] != ups[1]["interface"], f"{ups}")
            for c in (one, two):
                ping_by(c)
                check(status(c, c.interface, "-c", c.conf_path)["interface"] == c.interface, "another one's status")
            status(one, "-c", one.conf_path)
            e = third.start().fails("local", event="failed")
            check(one.interface in e["text"], f"{e}")
            ping_by(one)
            check(status(one)["state"] == "up" and len(gh.sessions()) == 2, "the first one suffered")


# ---- the command line ----------------------------------------------------------------------------------------------

def test_configuration(lab, _gh):
    """A file with every key; options go before it; each mistake has its place or its option, and exit status 2."""
    secret = secret_file(lab, "alice", "wonderland")
    crl = make_crl(lab.ca, lab.fresh_dir("crl"))
    everything = {
        "server": {"url": "https://vpn.example.com/", "ca": lab.ca.cert, "pin": [pin_of(lab.vpn[0])], "crl": crl,
                   "insecure": False, "min-version": "1.3"},
        "login": {"auth": ["mschapv2", "pap"]},
        "tunnel": {"mtu": 1350, "routes": ["198.51.100.0/24", "10.200.0.0/16"], "default-route": False, "ipv6": False,
                   "dns": "resolv.conf"},
        "proxy": {"url": "none", "user": "x", "password-file": secret, "none": ["example.org"]},
        "reconnect": {"once": False, "first": 2, "max": 9, "echo-interval": 5, "echo-timeout": 6},
        "log": {"level": "info", "format": "json"}}

    def all_keys():
        with dial(lab, conf=everything, args=["--route", "10.201.0.0/16"]) as c:
            up = c.wait_up()
            check(up["mtu"] == 1350 and up["tls"] == "TLSv1.3" and up["dns_way"] == "resolv.conf", f"{up}")
            check("10.201.0.0/16" in up["routes"], f"{up}")
            check("inet6" not in c.ns.ip("addr", "show", "dev", c.interface), "IPv6 is there")

    def mistake(words, *argv, conf=None):
        path = conf and os.path.join(lab.fresh_dir("mistake"), "connect.conf")
        if conf:
            with open(path, "w", encoding="utf-8") as f:
                f.write(conf)
        r = subprocess.run(lab.client.argv([gatehouse_path(), "connect", *(["-c", path] if conf else []), *argv]),
                           stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        err = r.stderr.decode()
        check(r.returncode == 2, f"{words}: status {r.returncode}: {err}")
        for w in [words] if isinstance(words, str) else words:
            check(w.replace("FILE", str(path)) in err, f"no {w!r} in {err!r}")
    all_keys()
    url = f"https://{SERVER4}/"
    good = f'server: {{ url = "{url}"; }};\nlogin: {{ user = "x"; }};\n'
    mistake("FILE:3: ", conf=good + 'tunnel: { interfaces = "x"; };\n')
    mistake("FILE:3: ", conf=good + 'elsewhere: { x = 1; };\n')
    mistake("FILE:3: ", conf=good + 'tunnel: { mtu = 100; };\n')
    mistake("FILE:4: ", conf=good + '\nreconnect: { first = 99; max = 2; };\n')
    mistake("FILE:4: ", conf=good + 'tunnel: { mtu = \n};\n')
    mistake("FILE:1: ", conf='server: { url = "http://192.0.2.2/"; };\nlogin: { user = "x"; };\n')
    mistake("no URL is given", conf='login: { user = "x"; };\n')
    for words, argv in (("tunnel.routes", ["--route", "nonsense"]), ("tunnel.routes", ["--route", "10.0.0.0/99"]),
                        ("server.pin", ["--pin", "sha256:12"]), ("login.auth", ["--auth", "mschap"]),
                        ("tunnel.interface", ["--interface", "much-too-long-a-name"]), ("proxy", ["--proxy", "x y"]),
                        ("TLS to a proxy", ["--proxy", "https://192.0.2.2:3128"]),
                        ("nowhere.pem", ["--ca", "/nowhere.pem"]), ("insecure", ["--insecure", "--ca", lab.ca.cert]),
                        ("default-route", ["--route", "10.0.0.0/8", "--default-route"]),
                        ("elsewhere", ["--elsewhere"])):
        mistake(words, url, "--user", "x", *argv)
    mistake("--user", url)
    mistake("URL")
    mistake("one URL", url, url)


# ---- what it says --------------------------------------------------------------------------------------------------

def test_terminal(lab, _gh):
    """Each step with its time, then the address and how to hang up; a failure with its cause and a remedy."""
    def good():
        with Terminal(lab, "-c", plain_conf(lab, 1, login={"user": "alice", "password-file": password})) as t:
            t.until("^Connected in")
            check(t.text.startswith(f"Connecting to https://{SERVER4}/\n"), t.text)
            for step in ("tcp", "tls", "http", "sstp", "lcp", "login", "binding", "network"):
                check(re.search(rf"^  {step} +\S.*  \(\d+ ms\)$", t.text, re.M), f"no step {step}: {t.text}")
            last = r"^Connected in \d+ ms: 10\.77\.0\.\d+ on ghp1, routes none\. Ctrl-C hangs up\.$"
            check(re.search(last, t.text, re.M), t.text)
            check(t.end(signal.SIGINT) == 0 and t.text.rstrip().endswith("Disconnected."), t.text)

    def bad():
        with Terminal(lab, "-c", plain_conf(lab, 2, login={"user": "bob", "password-file": password})) as t:
            check(t.end() == EXIT["login"], f"{t.p.returncode}: {t.text}")
            check(re.search(r"^Failed: .*691", t.text, re.M) and re.search(r"^  Remedy: \S", t.text, re.M), t.text)
            check(re.search(r"^  Windows would log RasClient 20227 \(691\)$", t.text, re.M), t.text)

    def again():
        with Terminal(lab, "-c", plain_conf(lab, 3, server={"url": f"https://{SERVER4}:9/"},
                                            login={"user": "bob", "password-file": password})) as t:
            t.until(r"^Trying again in \d+\.\d s")
            check(t.end(signal.SIGTERM) == 0, f"{t.p.returncode}")

    def insecure():
        with Terminal(lab, "-c", plain_conf(lab, 4, server={"ca": None}, login={"user": "alice",
                      "password-file": password}), "--insecure") as t:
            t.until("^Connected in")
            check(t.text.count("WARNING: ") == 1 and "NOT verified" in t.text, t.text)
            t.end(signal.SIGINT)
    password = secret_file(lab, "alice", "wonderland")
    with nothing_left(lab.client):
        side_by_side({"good": good, "bad": bad, "again": again, "insecure": insecure})


def test_log(lab, _gh):
    """Without a terminal: events as the server's log has them, and at the default level only what an operator needs."""
    password = secret_file(lab, "alice", "wonderland")

    def run(n, level, user="alice", end=True):
        conf = plain_conf(lab, n, login={"user": user, "password-file": password}, log={"level": level})
        path = os.path.join(lab.test_dir, f"log-{n}")
        proc = lab.client.start([gatehouse_path(), "connect", "-c", conf], path, cwd="/")

        def names():
            return [e["event"] for e in parse_log(proc.log())]
        try:
            wait_for(lambda: "call-up" in names() or not proc.alive(), 10, proc.log)
            if end:
                proc.signal(signal.SIGTERM)
            return proc.wait(10), parse_log(proc.log())
        finally:
            proc.close()

    def quiet():
        code, events = run(1, "notice")
        check(code == 0 and [e["event"] for e in events] == ["call-up", "call-down", "stopped"], f"{code}: {events}")
        up = events[0]
        check(up["level"] == "notice" and up["server"] == f"{SERVER4}:443" and up["interface"] == "ghp1", f"{up}")

    def all_steps():
        code, events = run(2, "info")
        steps = [e["step"] for e in events if e["event"] == "step"]
        check(code == 0 and steps == ["tcp", "tls", "http", "sstp", "lcp", "login", "binding", "network"], f"{events}")

    def failed():
        code, events = run(3, "notice", user="bob", end=False)
        check([e["event"] for e in events] == ["dial-failed", "stopped"] and code == EXIT["login"], f"{code}: {events}")
        e = events[0]
        check(e["level"] == "warn" and e["cause"] == "login" and "691" in e["reason"] and e["remedy"], f"{e}")
        check(e["windows"] == "RasClient 20227 (691)", f"{e}")
    with nothing_left(lab.client):
        side_by_side({"quiet": quiet, "steps": all_steps, "failed": failed})
