"""Certificates that change while the server runs: every way of putting a new file there, files that cannot be used,
OCSP responses, dates that run out, and a change every second under load.
"""

import collections
import contextlib
import itertools
import json
import os
import re
import shutil
import threading
import time

import webservers as ws
from lablib import (POOL_SERVER, SERVER4, Ca, check, leaf_der, load_path, need, sha256, wait_for)
from sstpclient import Client

VPN, OTHER = ["vpn.example.com", "www.example.com"], ["other.example.com"]
SEEN = 4  # seconds within which a changed file is served


class Live:
    """A chain and a key in a folder of their own, replaced in the ways in which programs do it."""

    def __init__(self, folder, pair):
        self.dir, self._count = folder, itertools.count(1)
        os.makedirs(os.path.join(folder, "archive"))
        self.files = os.path.join(folder, "chain.pem"), os.path.join(folder, "key.pem")
        self.rename(pair)

    def _read(self, pair):
        out = []
        for path in pair:
            with open(path, "rb") as f:
                out.append(f.read())
        return out

    def rename(self, pair):
        """Written elsewhere, then moved over the old: as most programs do."""
        for path, data in zip(self.files, self._read(pair)):
            with open(path + ".new", "wb") as f:
                f.write(data)
        for path in self.files:
            os.replace(path + ".new", path)

    def in_place(self, pair, pause=0):
        """The same file, emptied and written again: as cp and acme.sh do. Returns the longest time without a write."""
        longest = 0
        for path, data in zip(reversed(self.files), reversed(self._read(pair))):
            began = time.monotonic()
            with open(path, "wb") as f:
                f.write(data)
            time.sleep(pause)
            longest = max(longest, time.monotonic() - began)
        return longest

    def swap_links(self, pair):
        """Symbolic links to numbered files, one moved over the other: as certbot does."""
        n = next(self._count)
        for path, data in zip(self.files, self._read(pair)):
            target = os.path.join(self.dir, "archive", f"{n}-{os.path.basename(path)}")
            with open(target, "wb") as f:
                f.write(data)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + ".link")
            os.symlink(os.path.relpath(target, self.dir), path + ".link")
        for path in self.files:
            os.replace(path + ".link", path)

    def entry(self, name, *rules, **more):
        return {"name": name, "chain": self.files[0], "key": self.files[1], "for": list(rules), **more}


def served(lab, sni="vpn.example.com"):
    ctx = lab.tls()
    with contextlib.closing(lab.client.connect(SERVER4, 443)) as s, ctx.wrap_socket(s, server_hostname=sni) as t:
        return t.getpeercert(binary_form=True)


def wait_served(lab, pair, sni="vpn.example.com", how=""):
    wait_for(lambda: served(lab, sni) == leaf_der(pair[0]), SEEN, f"{sni}: {pair[0]} is not served after {how}")


def dials(lab, pair):
    with Client(lab.client, SERVER4, ca=lab.ca.cert, sni="vpn.example.com") as c:
        check(c.cert == leaf_der(pair[0]), f"not the certificate of {pair[0]}")
        c.call("alice", "wonderland")
        check(c.ping(POOL_SERVER), "no ping")
        c.hang_up()


def status_of(gh, name):
    return next(c for c in gh.cli("status")["certificates"] if c["name"] == name)


# ---- good files ----------------------------------------------------------------------------------------------------

def test_every_way_to_replace(lab):
    """Rename, in place, symbolic links of the files and of a folder above them: each is seen, a call stays up."""
    pairs = [lab.ca.issue(f"way-{n}", VPN, key="P-256" if n % 2 else "rsa:2048") for n in range(6)]
    live = Live(lab.fresh_dir("live"), pairs[0])
    above = lab.fresh_dir("above")  # above/now -> one or two; the configuration says above/now/...
    for n in ("one", "two"):
        os.makedirs(os.path.join(above, n))
    moved = [lab.ca.issue(f"folder-{n}", OTHER) for n in range(2)]
    for pair, n in zip(moved, ("one", "two")):
        shutil.copy(pair[0], os.path.join(above, n, "chain.pem"))
        shutil.copy(pair[1], os.path.join(above, n, "key.pem"))
    now = os.path.join(above, "now")
    os.symlink("one", now)
    certs = [live.entry("live", "default"), {"name": "above", "chain": f"{now}/chain.pem", "key": f"{now}/key.pem",
                                             "for": OTHER}]
    with lab.gatehouse(certificates=certs) as gh, Client(lab.client, SERVER4, ca=lab.ca.cert,
                                                         sni="vpn.example.com") as held:
        held.call("erin", "secret")
        for way, pair in zip((live.in_place, live.swap_links, live.swap_links, live.in_place, live.rename), pairs[1:]):
            since = gh.mark()
            way(pair)
            wait_served(lab, pair, how=way.__name__)
            gh.wait_event("certificate-changed", since=since, name="live", sha256=sha256(leaf_der(pair[0])))
            dials(lab, pair)
            check(held.ping(POOL_SERVER), f"{way.__name__}: the call from before is broken")
        os.symlink("two", now + ".new")
        os.replace(now + ".new", now)
        wait_served(lab, moved[1], OTHER[0], "the folder's link was swapped")
        check(status_of(gh, "above")["sha256"] == sha256(leaf_der(moved[1][0])), "status has another certificate")
        check(not gh.events("certificate-kept"), f"half a change was judged: {gh.events('certificate-kept')}")
        held.hang_up()


def test_one_after_the_other(lab):
    """Key and chain are written with a pause: what does not fit together is never served, what fits then is."""
    pairs = [lab.ca.issue(f"pause-{n}", VPN) for n in range(3)]
    live = Live(lab.fresh_dir("live"), pairs[0])
    with lab.gatehouse(certificates=[live.entry("live", "default")]) as gh:
        for _ in range(5):
            since = gh.mark()
            # Pauses shorter than what counts as at rest, for longer than two looks are apart.
            if max(live.in_place(pairs[1 - n % 2], pause=0.1) for n in range(7)) < 0.17:
                break  # else this machine was too busy for the like
        wait_served(lab, pairs[1], how="short pauses")
        check(not gh.events("certificate-kept", since), "half a change was judged")
        since = gh.mark()
        live.in_place(pairs[2], pause=2.5)
        check("key" in gh.wait_event("certificate-kept", since=since, name="live")["reason"], gh.tail())
        wait_served(lab, pairs[2], how="a long pause")
        check(status_of(gh, "live")["state"] == "good", f"status: {status_of(gh, 'live')}")
        dials(lab, pairs[2])


# ---- bad files -----------------------------------------------------------------------------------------------------

def bad_pairs(lab, good):
    """{label: ((chain, key), what the reason says, what `check` calls it)}"""
    chain, key = good

    def variant(label, data, of=chain):
        path = os.path.join(lab.test_dir, f"bad-{label}")
        with open(path, "wb") as f:
            f.write(data)
        return (path, key) if of == chain else (chain, path)
    with open(chain, "rb") as f:
        text = f.read()
    with open(lab.ca.cert, "rb") as f:
        issuer = f.read()
    encrypted = os.path.join(lab.test_dir, "encrypted.key")
    lab.client.sh("openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:secret", "-out", encrypted)
    second = lab.ca.issue("bad-second", VPN)
    return {
        "truncated": (variant("truncated", text[:len(text) // 4]), r"certificate 1 .* cannot be read",
                      "cert-unreadable"),
        "another's key": ((chain, second[1]), r"key", "key-mismatch"),
        "expired": (lab.ca.issue("bad-expired", VPN, ago=60, days=30), r"expired", "cert-expired"),
        "not yet valid": (lab.ca.issue("bad-early", VPN, ago=-5), r"not valid yet", "cert-not-yet-valid"),
        "weak": (lab.ca.issue("bad-weak", VPN, key="rsa:1024"), r"small", "cert-key-weak"),
        "for clients": (lab.ca.issue("bad-eku", VPN, eku="clientAuth"), r"server", "cert-usage"),
        "empty": (variant("empty", b""), r"chain file is empty", "cert-empty"),
        "empty key": (variant("empty-key", b"", key), r"key file is empty", "key-empty"),
        "10 MiB": (variant("huge", text * (10 * 2**20 // len(text))), r"1 MiB", "cert-too-large"),
        "encrypted key": ((chain, encrypted), r"encrypted", "key-encrypted"),
        "wrong order": (variant("order", issuer + text[:-len(issuer)]), r"key|order", "cert-leaf-not-first"),
    }


def test_bad_files(lab):
    """
    What cannot be used is told once, with the reason, and the last good certificate stays in service; other
    certificates are renewed meanwhile; a good file mends it.
    """
    good = [lab.ca.issue(f"mend-{n}", VPN) for n in range(2)]
    others = [lab.ca.issue(f"other-{n}", OTHER) for n in range(2)]
    bad = bad_pairs(lab, good[0])
    live, other = (Live(lab.fresh_dir("live"), x) for x in (good[0], others[0]))
    with lab.gatehouse(certificates=[live.entry("live", "default"), other.entry("other", *OTHER)]) as gh:
        for n, (label, (pair, words, code)) in enumerate(bad.items(), 1):
            since = gh.mark()
            live.rename(pair)
            other.rename(others[n % 2])
            e = gh.wait_event("certificate-kept", since=since, name="live", timeout=SEEN)
            check(e["level"] == "error" and re.search(words, e["reason"].partition(")")[2]) and e["remedy"],
                  f"{label}: {e['text']}")
            check(served(lab) == leaf_der(good[0][0]), f"{label}: the last good one is not served any more")
            wait_served(lab, others[n % 2], OTHER[0], f"{label} beside it")
            s = status_of(gh, "live")
            check(s["state"] == "kept" and s["reason"] == e["reason"] and
                  s["sha256"] == sha256(leaf_der(good[0][0])), f"{label}: status: {s}")
            check(status_of(gh, "other")["state"] == "good", f"{label}: {status_of(gh, 'other')}")
            status, found = gh.findings()
            check({code, "cert-kept"} <= found.keys() and s["reason"] in found["cert-kept"]["text"],
                  f"{label}: check says {status}, {list(found)}")
        for path in live.files:
            os.unlink(path)
        since = gh.mark()
        gh.wait_event("certificate-kept", since=since, name="live", timeout=SEEN)
        dials(lab, good[0])
        since = gh.mark()
        other.rename(others[0] if n % 2 else others[1])
        wait_served(lab, others[0] if n % 2 else others[1], OTHER[0], "renewal while the other one is gone")
        check(not gh.events("certificate-kept", since), f"the same trouble was told again: {gh.tail()}")
        live.rename(good[1])
        wait_served(lab, good[1], how="a good file came")
        check(status_of(gh, "live")["state"] == "good", f"status: {status_of(gh, 'live')}")
        check("cert-kept" not in gh.findings()[1], "check still speaks of the last good one")
        with open(good[0][0], "rb") as f:  # as other systems' editors write it: no fault
            data = b"\xef\xbb\xbf" + f.read().replace(b"\n", b"\r\n")
        odd = os.path.join(lab.test_dir, "crlf-and-bom.pem")
        with open(odd, "wb") as f:
            f.write(data)
        live.rename((odd, good[0][1]))
        wait_served(lab, good[0], how="a file with CRLF and a byte order mark came")
        dials(lab, good[0])


def test_valid_a_little_later(lab):
    """A certificate of an authority whose clock is ahead: kept back, and taken by itself when it has become valid."""
    good = lab.ca.issue("later-good", VPN)
    live = Live(lab.fresh_dir("live"), good)
    with lab.gatehouse(certificates=[live.entry("live", "default")]) as gh:
        early = lab.ca.issue("later-early", VPN, ago=-8 / 86400)
        since = gh.mark()
        live.rename(early)
        gh.wait_event("certificate-kept", since=since, name="live", timeout=SEEN)
        check(served(lab) == leaf_der(good[0]), "one that is not valid yet is served")
        gh.wait_event("certificate-changed", since=since, name="live", timeout=12)
        dials(lab, early)
        check(status_of(gh, "live")["state"] == "good", f"status: {status_of(gh, 'live')}")


def test_changed_key_type(lab):
    """A renewed certificate whose new type of key is that of the other one for the same name: it alone is kept back."""
    rsa, ec = lab.ca.issue("type-rsa", VPN, key="rsa:2048"), lab.ca.issue("type-ec", VPN)
    more = lab.ca.issue("type-ec2", VPN), lab.ca.issue("type-ec3", VPN)
    live, beside = Live(lab.fresh_dir("live"), rsa), Live(lab.fresh_dir("live"), ec)
    with lab.gatehouse(certificates=[live.entry("rsa", "default"), beside.entry("ec", "default")]) as gh:
        live.rename(more[0])
        e = gh.wait_event("certificate-kept", name="rsa", timeout=SEEN)
        check("type of key" in e["reason"], e["text"])
        check(status_of(gh, "rsa")["state"] == "kept", f"status: {status_of(gh, 'rsa')}")
        beside.rename(more[1])
        wait_served(lab, more[1], how="renewal beside it")
        dials(lab, more[1])


# ---- OCSP ----------------------------------------------------------------------------------------------------------

NOWHERE = "http://192.0.2.99:80"  # nobody is there
SOON = 5  # seconds for which a response is still good


def stapled(lab, version="-tls1_3"):
    """What is stapled, as openssl says it: "good", "revoked", or None."""
    out = lab.client.sh("openssl", "s_client", "-connect", f"{SERVER4}:443", "-servername", "vpn.example.com",
                        "-CAfile", lab.ca.cert, "-status", version, stdin=b"")
    check(("no response sent" in out) != ("OCSP Response Status: successful" in out), f"s_client says {out[:300]}")
    found = re.search(r"Cert Status: (\w+)", out)
    return found.group(1) if found else None


def test_stapled_response(lab):
    """
    Revocation endpoints that cannot be reached: the stapled response serves, from a file that is refreshed outside. A
    stale, wrong, revoking or broken one is never stapled and told of. Clients that ask are served without a reload.
    """
    need("curl")
    pair = lab.ca.issue("ocsp", VPN, extra=f"authorityInfoAccess=OCSP;URI:{NOWHERE}/ocsp\n"
                                           f"crlDistributionPoints=URI:{NOWHERE}/crl\n")
    second = lab.ca.issue("ocsp-second", VPN)
    stranger = Ca(lab.fresh_dir("stranger"))
    path, spare = (os.path.join(lab.test_dir, n) for n in ("staple.der", "spare.der"))
    live = Live(lab.fresh_dir("live"), pair)

    def put(*argv, **kw):
        lab.ca.ocsp(*argv, spare, **kw)
        os.replace(spare, path)

    def garbage():
        with open(path, "wb") as f:
            f.write(os.urandom(500))

    def cut():
        with open(path, "rb") as f:
            data = f.read()
        with open(path, "wb") as f:
            f.write(data[:-1])
    steps = [  # what is put there, its state, the event
        ("another's", lambda: put(second[0]), "wrong", "ocsp-refused"),
        ("good", lambda: put(pair[0]), "good", None),
        ("cut", cut, "wrong", "ocsp-refused"),
        ("stale", lambda: put(pair[0], ago=3, minutes=60), "stale", "ocsp-stale"),
        ("garbage", garbage, "wrong", "ocsp-refused"),
        ("revoked", lambda: put(pair[0], status="R"), "revoked", "ocsp-refused"),
        ("a stranger's", lambda: put(pair[0], signer=(stranger.cert, stranger.key)), "wrong", "ocsp-refused"),
        ("soon over", lambda: put(pair[0], ago=(60 - SOON) / 86400, minutes=1), "good", None),
        ("over", lambda: None, "stale", None),  # by itself, and told of within a minute
        ("gone", lambda: os.unlink(path), "none", "ocsp-missing"),
        ("refreshed", lambda: put(pair[0]), "good", None)]
    with lab.gatehouse(certificates=[live.entry("vpn", "default", ocsp=path)]) as gh:
        gh.wait_event("ocsp-missing", name="vpn")
        check(stapled(lab) is None, "something is stapled")
        for label, act, state, event in steps:
            since = gh.mark()
            act()
            wait_for(lambda: status_of(gh, "vpn")["ocsp"]["state"] == state, SEEN + SOON,
                     lambda: f"{label}: {state} in {status_of(gh, 'vpn')}")
            why = status_of(gh, "vpn")["ocsp"]["reason"]
            check(bool(why) == (state not in ("good", "none")), f"{label}: the reason is {why!r}")
            found = {c for c in gh.findings()[1] if c.startswith("ocsp-")}
            check(found == {"good": set(), "none": {"ocsp-missing"}}.get(state, {f"ocsp-{state}"}),
                  f"{label}: check says {found}")
            if event:
                e = gh.wait_event(event, since=since, name="vpn")
                check(e.get("remedy") and (e.get("reason") or event == "ocsp-missing"), f"{label}: {e['text']}")
            for version in ("-tls1_2", "-tls1_3"):
                wait_for(lambda: stapled(lab, version) == ("good" if state == "good" else None), 1,
                         lambda: f"{label} {version}: stapled is {stapled(lab, version)}")
            curl = ["curl", "-sS", "--cert-status", "--cacert", lab.ca.cert, "--resolve",
                    f"www.example.com:443:{SERVER4}", "https://www.example.com/", "-o", "/dev/null"]
            lab.client.sh(*curl, ok=(0,) if state == "good" else (91,))
        began = time.monotonic()
        dials(lab, pair)
        check(time.monotonic() - began < 3, "a dial waits for endpoints that cannot be reached")
        check(not gh.events("reload-done"), "there was a reload")


# ---- dates ---------------------------------------------------------------------------------------------------------

def test_dates(lab):
    """The end of a certificate is announced, at the start and when a new one comes; `status` has it in numbers."""
    days = {"six": 6, "fourteen": 14, "long": 200, "hours": 1, "over": 30}
    pairs = {n: lab.ca.issue(f"dates-{n}", [f"{n}.example.com"], days=d, ago=60 if n == "over" else 0)
             for n, d in days.items()}
    live = Live(lab.fresh_dir("live"), pairs["long"])
    certs = [{"name": n, "chain": p[0], "key": p[1], "for": [f"{n}.example.com"]} for n, p in pairs.items()]
    with lab.gatehouse(certificates=[*certs, live.entry("live", "default")]) as gh:
        for name, left in (("six", 6), ("fourteen", 14), ("hours", 1)):
            (e,) = gh.events("certificate-expires", name=name)
            check(e["level"] == "warn" and e["days"] == str(left) and e["remedy"], e["text"])
        (e,) = gh.events("certificate-expired")
        check(e["name"] == "over" and e["level"] == "error" and e["not_after"] and e["remedy"], e["text"])
        (e,) = gh.events("certificate-unfit")  # served all the same: there is nothing better
        check(e["name"] == "over" and e["level"] == "warn" and "expired" in e["reason"] and e["remedy"], e["text"])
        check(len(gh.events("certificate-expires")) == 3, "more certificates are said to expire")
        listed = {c["name"]: c for c in gh.cli("status")["certificates"]}
        check(listed["over"]["state"] == "unfit" and listed["over"]["seconds_left"] < -29 * 86400, f"{listed['over']}")
        for name in ("six", "fourteen", "long", "hours"):
            s = listed[name]
            check(s["state"] == "good" and s["not_after"] - s["not_before"] == days[name] * 86400 and
                  0 <= days[name] * 86400 - s["seconds_left"] < 60, f"status: {s}")
            check(s["sha256"] == sha256(leaf_der(pairs[name][0])) and s["for"] == [f"{name}.example.com"], f"{s}")
        live.rename(pairs["six"])
        check(gh.wait_event("certificate-expires", name="live", timeout=SEEN)["days"] == "6", gh.tail())


# ---- under load ----------------------------------------------------------------------------------------------------

STAGES = ("tcp", "handshake", "ack", "login")
SECONDS, DIALLING, HELD, DOWNLOADS = 60, 50, 20, 20
QUIET = {"listening", "ready", "login-ok", "call-up", "call-down", "certificate-changed", "reload-done"}


class Load:
    """All that goes on while the certificate changes; each part is a thread, whose first fault ends the test."""

    def __init__(self, lab, gh):
        self.lab, self.gh = lab, gh
        self.faults, self.threads, self.counts = [], [], collections.Counter()
        self.stop = threading.Event()

    def start(self, part, *argv):
        def run():
            try:
                part(*argv)
            except Exception as e:  # whatever it is
                self.faults.append(f"{part.__name__}: {type(e).__name__}: {e}")
                self.stop.set()
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def join(self):
        for t in self.threads:
            t.join(60)
        check(not self.faults, "; ".join(self.faults))
        check(not any(t.is_alive() for t in self.threads), "a part does not end")

    def dialling(self):
        """Dial, up, hang up, again: DIALLING at a time."""
        while not self.stop.is_set():
            out = json.loads(self.lab.client.sh(
                "nice", "-n", "5", load_path(), "rate", "--server", f"{SERVER4}:443", "--user", "alice", "--password",
                "wonderland", "--total", "500", "--concurrency", str(DIALLING), "--json", timeout=120))
            self.counts["dials"] += out["calls"]
            check(not out["failed"] and out["calls"] == 500, f"{out}")

    def held(self, clients):
        """Calls that are up stay up and pass data."""
        for c in itertools.cycle(clients):
            if self.stop.wait(0.1):
                return
            check(c.ping(POOL_SERVER), f"a held call ({c.address}) passes no data")
            self.counts["pings"] += 1

    def download(self, n, want):
        """Again and again: most see a change on the way."""
        url = ["curl", "-sS", "--http1.1" if n % 2 else "--http2", "--cacert", self.lab.ca.cert, "--resolve",
               f"www.example.com:443:{SERVER4}", "--limit-rate", "300k", "https://www.example.com/blob"]
        path = os.path.join(self.lab.test_dir, f"download-{n}")
        while not self.stop.is_set():
            self.lab.client.sh(*url, "-o", path)
            with open(path, "rb") as f:
                check(sha256(f.read()) == want, "what came differs")
            self.counts["downloads"] += 1

    def change(self, live, pairs):
        """A new certificate every second, in each way in turn; at times a reload, too."""
        ways = itertools.cycle((live.in_place, live.rename, live.swap_links))
        began = time.monotonic()
        for n in range(1, SECONDS + 1):
            if self.stop.wait(max(0, began + n - time.monotonic())):
                return
            next(ways)(pairs[n % len(pairs)])
            self.counts["changes"] += 1
            if n % 10 == 0:
                self.gh.cli("reload")
        self.stop.set()

    def now(self):
        return self.gh.cli("status")["certificates"][0]["sha256"]

    def until_changed(self, digest):
        """Waits until the leaf with this hash is served no more, or there are no more changes to come."""
        wait_for(lambda: self.stop.is_set() or self.now() != digest, 10, "a change")

    def connect(self, *argv, **kw):
        """As a namespace does; the certificate is replaced before the ClientHello."""
        s = self.lab.client.connect(*argv, **kw)
        self.until_changed(self.now())
        return s

    def between(self):
        """The certificate is replaced before and after the TLS handshake, after the ACK, the login: the call binds."""
        for stage in itertools.cycle(STAGES):
            if self.stop.is_set():
                return
            with Client(self if stage == "tcp" else self.lab.client, SERVER4, ca=self.lab.ca.cert,
                        sni="vpn.example.com") as c:
                if stage == "handshake":
                    self.until_changed(sha256(c.cert))
                c.http()
                c.connect_request()
                if stage == "ack":
                    self.until_changed(sha256(c.cert))
                check(c.login("bob", "correct horse", "mschapv2"), "login")
                if stage == "login":
                    self.until_changed(sha256(c.cert))
                c.send_connected()
                c.open_ipcp()
                check(c.ping(POOL_SERVER), "no ping")
                c.hang_up()
                self.counts["between"] += 1
                self.counts[stage] += 1


def test_replaced_under_load(lab):
    """
    A new certificate every second for a minute, RSA and ECDSA in turn, under 50 clients that dial, 20 held calls and
    20 downloads: nothing is dropped, nothing fails, nobody is bound to a wrong one.
    """
    need("curl", "nice", "nginx")
    pairs = [lab.ca.issue(f"load-{n}", VPN, key="P-256" if n % 2 else "rsa:2048", days=60) for n in range(10)]
    live = Live(lab.fresh_dir("live"), pairs[0])
    nginx, blob = ws.Nginx(lab), os.urandom(1 << 20)
    with open(os.path.join(nginx.docs, "blob"), "wb") as f:
        f.write(blob)
    web = [{"upstream": f"127.0.0.1:{ws.NGINX_PLAIN}", "upstream-h2": f"127.0.0.1:{ws.NGINX_H2}"}]
    with contextlib.ExitStack() as stack:
        stack.callback(nginx.stop)
        gh = stack.enter_context(lab.gatehouse(
            certificates=[live.entry("live", "default")], web=web, vpn={"network": ["10.77.0.0/20"]},
            log={"level": "notice"}, limits={"connections": 4000, "unauthenticated-per-source": 1000}))
        clients = [stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert, sni="vpn.example.com"))
                   for _ in range(HELD)]
        for c in clients:
            c.call("alice", "wonderland")
        load, rss = Load(lab, gh), gh.engine_rss_kib()
        load.start(load.change, live, pairs)
        load.start(load.dialling)
        load.start(load.held, clients)
        load.start(load.between)
        for n in range(DOWNLOADS):
            load.start(load.download, n, sha256(blob))
        seen = set()
        while not load.stop.wait(0.2):
            seen.add(load.now())
        load.join()
        for c in clients:
            check(c.ping(POOL_SERVER), "a held call passes no data at the end")
        grown = gh.engine_rss_kib() - rss
        with open(gh.log_path, encoding="utf-8") as f:
            events = collections.Counter(re.findall(r" event=(\S+)", f.read()))
        n = load.counts
        print(f"# {n['changes']} changes ({events['certificate-changed']} served), {n['dials']} dials, "
              f"{n['downloads']} downloads, {n['pings']} pings, {n['between']} calls in between, {grown} KiB")
        check(set(events) <= QUIET, f"something went wrong: {events}")
        check(events["certificate-changed"] >= SECONDS // 2, f"{events}")
        check(len(seen) > len(pairs) // 2, f"{len(seen)} certificates were seen")
        check(n["dials"] >= 20 * DIALLING and n["downloads"] >= 5 * DOWNLOADS and n["pings"] >= 5 * HELD, f"{n}")
        check(min(n[s] for s in STAGES) >= 3, f"{n}")
        wait_served(lab, pairs[SECONDS % len(pairs)], how="the last change")
        check(grown < 64 << 10, f"the engine grew by {grown} KiB")
        for c in clients:
            c.hang_up()
