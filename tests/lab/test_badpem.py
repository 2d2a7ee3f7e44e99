"""PEM files as people and editors leave them, in the whole daemon: at the start (refused, with the place and what to
do), at a reload (refused, the old one stays) and as a change that is noticed (the last good one is served on, and the
log says why). CRLF and a byte order mark are no fault.
"""

import contextlib
import os
import re
import subprocess
import time
import types

import fronts
from lablib import POOL_SERVER, SERVER4, check, sh, wait_for
from sstpclient import Client
from test_config import base, refuses

BESIDE = 1  # of the other files: see run.py

NAME = "www.example.com"

# Reading is the same at the start, at a reload and after a change: these few are also waited for.
NOTICED = ("chain empty", "chain cut in the second", "chain in the wrong order", "chain of 10 MiB", "chain encrypted",
           "key empty", "key cut", "key encrypted", "key of 10 MiB")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def encrypted(key):
    return sh(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret"]).encode()


def faults(chain, key, other_key):
    """{name: (which file, its bytes, what the message must say)}"""
    leaf_end = chain.index(b"-----END CERTIFICATE-----")
    body = key.split(b"\n")
    padding = b"# padding padding padding padding padding padding padding padd\n" * (10 << 20 >> 6)
    cut = b"\n".join(chain.split(b"\n")[:6]) + b"\n"
    second = chain.index(b"-----BEGIN", 10)
    return {
        "chain empty": ("chain", b"", r"chain file is empty"),
        "chain of blanks": ("chain", b"\n\r\n \n", r"no certificate in its chain file"),
        "chain cut in the leaf": ("chain", cut, r"certificate 1 .*chain.* cannot be read"),
        "chain cut before its END": ("chain", chain[:leaf_end], r"certificate 1 .*chain.* cannot be read"),
        "chain cut in the second": ("chain", chain[:second + 200], r"certificate 2 .*chain.* cannot be read"),
        "chain with a changed letter": ("chain", chain[:200] + b"!" + chain[201:], r"certificate 1 .*cannot be read"),
        "chain in the wrong order": ("chain", chain[second:] + chain[:second], r"put the leaf first"),
        "chain of 10 MiB": ("chain", chain + padding, r"larger than 1 MiB"),
        "chain that is a key": ("chain", key, r"no certificate in its chain file"),
        "chain in DER": ("chain", sh_bytes(["openssl", "x509", "-outform", "der"], chain), r"binary .*convert"),
        "chain encrypted": ("chain", b"Salted__" + os.urandom(3000), r"no certificate in its chain file"),
        "key empty": ("key", b"", r"key file is empty"),
        "key cut": ("key", b"\n".join(body[:2]) + b"\n", r"no private key can be read"),
        "key cut before its END": ("key", b"\n".join(body[:-2]) + b"\n", r"no private key can be read"),
        "key encrypted": ("key", other_key, r"encrypted with a password.*openssl pkey"),
        "key of 10 MiB": ("key", key + padding, r"larger than 1 MiB"),
        "key that is a certificate": ("key", chain, r"no private key can be read"),
        "key in DER": ("key", sh_bytes(["openssl", "pkey", "-outform", "der"], key), r"binary .*convert"),
    }


def sh_bytes(argv, data):
    return subprocess.run(argv, input=data, capture_output=True, check=True, timeout=20).stdout


@contextlib.contextmanager
def fixture(lab):
    """A server whose first certificate is a pair of files that the tests write."""
    good = lab.ca.issue("good", [NAME])
    chain, key = (os.path.join(lab.test_dir, x) for x in ("pair.pem", "pair.key"))
    p = types.SimpleNamespace(chain=chain, key=key, good=(read(good[0]), read(good[1])), leaf=fronts.leaf(good[0]))
    p.faults = faults(*p.good, encrypted(good[1]))
    p.label = ""
    mend(p)
    certs = [{"name": "pair", "chain": chain, "key": key, "for": ["default"]}]
    with lab.gatehouse(certificates=certs, worker={"threads": 1}) as gh:
        p.gh = gh
        yield p


def mend(p):
    fronts.put(p.chain, p.good[0])
    fronts.put(p.key, p.good[1])


def served(lab, p, leaf=None):
    """The good certificate is served, and a call binds to it."""
    with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        check(c.cert == (leaf or p.leaf), "another certificate is served")
        c.call("alice", "wonderland")
        check(c.ping(POOL_SERVER), "no ping")
        c.hang_up()


def state(p):
    cert, = p.gh.cli("status")["certificates"]
    return cert["state"]


def test_noticed(lab, p):
    """A bad file that appears: certificate-kept says why, status too; the good one stays; mended, all is well."""
    for label in NOTICED:
        (which, data, pattern), since = p.faults[label], p.gh.mark()
        fronts.put(p.chain if which == "chain" else p.key, data)
        e = p.gh.wait_event("certificate-kept", since=since)
        check(re.search(pattern, e["reason"]), f"{label}: {e['reason']!r} does not match {pattern!r}")
        check(re.search(r"gatehouse\.conf:\d+: ", e["reason"]) and e["remedy"] and e["level"] == "error", e["text"])
        check(state(p) == "kept", f"{label}: status says {state(p)}")
        if label in ("chain cut in the second", "key encrypted"):
            served(lab, p)
        mend(p)
    wait_for(lambda: state(p) == "good", 5, "status to say that all is well")
    served(lab, p)


def test_reload(lab, p):
    """A reload with a bad file is refused with its place; the good certificate stays."""
    for label, (which, data, pattern) in p.faults.items():
        since = p.gh.mark()
        fronts.put(p.chain if which == "chain" else p.key, data)
        p.gh.cli("reload", ok=(1,))
        e = p.gh.wait_event("reload-failed", since=since)
        check(re.search(pattern, e["reason"]) and re.search(r"gatehouse\.conf:\d+: ", e["reason"]),
              f"{label}: {e['text']}")
        mend(p)
    served(lab, p)
    p.gh.cli("reload")
    served(lab, p)


def test_no_fault(lab, p):
    """CRLF, a byte order mark, both, words around, no newline at the end: taken into use, and calls bind."""
    mark, text = b"\xef\xbb\xbf", b"Bag Attributes\n    friendlyName: x\nsubject=CN = www\n\n"
    def crlf(data):
        return data.replace(b"\n", b"\r\n")
    for label, change in (("CRLF", crlf), ("BOM", lambda d: mark + d), ("BOM and CRLF", lambda d: mark + crlf(d)),
                          ("words around", lambda d: text + d + b"\nthe end\n"),
                          ("no newline", lambda d: d.rstrip(b"\n")),
                          ("key and chain in both", lambda _: read(fresh[1]) + read(fresh[0]))):
        fresh = lab.ca.issue("fresh", [NAME])
        since = p.gh.mark()
        fronts.put(p.chain, change(read(fresh[0])))
        fronts.put(p.key, change(read(fresh[1])))
        e = p.gh.wait_event("certificate-changed", since=since)
        check(e["sha256"] == fronts.sha256(fronts.leaf(fresh[0])), f"{label}: {e['text']}")
        served(lab, p, fronts.leaf(fresh[0]))
        p.gh.cli("reload")
    mend(p)
    time.sleep(0.1)


def test_start(lab):
    """At the start each is refused with status 2, one line with file, line and remedy, and nothing is left behind."""
    good = lab.ca.issue("start", [NAME])
    chain, key = (os.path.join(lab.test_dir, x) for x in ("start.pem", "start.key"))
    text = base(lab, certificates=[{"name": "pair", "chain": chain, "key": key, "for": ["default"]}])
    for label, (which, data, pattern) in faults(read(good[0]), read(good[1]), encrypted(good[1])).items():
        fronts.put(chain, data if which == "chain" else good[0])
        fronts.put(key, data if which == "key" else good[1])
        e = refuses(lab, text, 2, pattern)
        check((chain if which == "chain" else key) in e["msg"], f"{label}: the file is not named: {e['msg']}")
