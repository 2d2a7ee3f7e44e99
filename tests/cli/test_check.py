#!/usr/bin/env python3
"""gatehouse check and cert show: each defect is made, and is the one finding. The PKI comes from the openssl command.
Usage: test_check.py PROGRAM"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = os.path.abspath(sys.argv.pop(1))
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NT = "066ddfd4ef0e9cd7c256fe77191ef43c"
DAY = 86400


def sh(*argv, **kw):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=60, **kw)
    if p.returncode:
        raise RuntimeError(f"{argv}: {p.stdout}{p.stderr}")
    return p.stdout


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def write(path, data):
    with open(path, "wb" if isinstance(data, bytes) else "w") as f:
        f.write(data)
    return path


class Pki:
    """root -> inter -> leaves, of which a test issues what it needs."""

    def __init__(self, folder):
        self.dir, self.serial = folder, 1
        write(self.at("ca.conf"), "[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nnew_certs_dir=%s\npolicy=p\nunique_subject=no\n"
              "rand_serial=yes\nemail_in_dn=no\n[p]\ncommonName=supplied\n[req]\ndistinguished_name=n\n[n]\n" % (self.at("db"), folder))
        write(self.at("db"), "")
        self.keys = {}
        self.issue("root", issuer=None, ca=True, days=3650)
        self.issue("inter", issuer="root", ca=True, days=1800)
        self.issue("leaf")

    def at(self, name):
        return os.path.join(self.dir, name)

    def key(self, name, kind):
        """Keys are made once a kind: they take time, and nothing here depends on them being different but for mismatch."""
        if kind not in self.keys:
            out = self.keys[kind] = self.at(f"key-{len(self.keys)}")
            alg = {"rsa": ["RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[4:]}"], "rsp": ["RSA-PSS"],
                   "ed2": ["ED25519"], "ed4": ["ED448"]}.get(kind[:3], ["EC", "-pkeyopt", f"ec_paramgen_curve:{kind.split('#')[0]}"])
            sh("openssl", "genpkey", "-algorithm", *alg, "-out", out)
        shutil.copyfile(self.keys[kind], self.at(name + ".key"))
        os.chmod(self.at(name + ".key"), 0o600)

    def issue(self, name, issuer="inter", ca=False, names="DNS:vpn.example.com", eku="serverAuth", ku=None, days=300, ago=1, key="P-256",
              md="sha256", extra="", cn=None):
        """Certificate in name.crt, with its chain in name.pem. issuer: a name; None: signs itself."""
        self.key(name, key if not ca else f"P-256#{name}")
        if ca and key != "P-256":
            self.key(name, key)
        ext = [f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}"]
        if ca:
            ext += ["keyUsage=critical,keyCertSign,cRLSign,digitalSignature"]
        else:
            ext += [f"keyUsage=critical,{ku or 'digitalSignature'}"] + ([f"extendedKeyUsage={eku}"] if eku else []) + \
                   ([f"subjectAltName={names}"] if names else [])
        write(self.at(name + ".ext"), "\n".join(ext) + "\nsubjectKeyIdentifier=hash\n" + extra + "\n")
        sh("openssl", "req", "-new", "-config", self.at("ca.conf"), "-key", self.at(name + ".key"), "-utf8", "-subj",
           f"/CN={cn or name}", "-out", self.at(name + ".csr"))
        stamp = lambda s: time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + s))
        sign = ["-selfsign"] if not issuer else ["-cert", self.at(issuer + ".crt")]
        sh("openssl", "ca", "-config", self.at("ca.conf"), "-batch", "-notext", "-utf8", "-preserveDN", "-in", self.at(name + ".csr"),
           "-out", self.at(name + ".crt"), "-keyfile", self.at((issuer or name) + ".key"), *sign, "-md", "default" if key[:2] == "ed" and not issuer
           else md, "-startdate", stamp(-ago * DAY), "-enddate", stamp(days * DAY), "-extfile", self.at(name + ".ext"))
        self.join(name + ".pem", *([name, issuer] if issuer and issuer != "root" else [name]))
        return name

    def join(self, out, *names):
        return write(self.at(out), "".join(read(self.at(n + ".crt")) for n in names))

    def sha(self, name, algorithm="sha256"):
        out = sh("openssl", "x509", "-in", self.at(name + ".crt"), "-noout", "-fingerprint", "-" + algorithm)
        return out.split("=")[1].strip().replace(":", "").lower()

    def ocsp(self, out, name="leaf", status="V", signer="inter"):
        serial = sh("openssl", "x509", "-in", self.at(name + ".crt"), "-noout", "-serial").strip().split("=")[1]
        write(self.at("index"), f"{status}\t401231235959Z\t{'250101000000Z' if status == 'R' else ''}\t{serial}\tunknown\t/CN=x\n")
        sh("openssl", "ocsp", "-index", self.at("index"), "-CA", self.at("inter.crt"), "-issuer", self.at("inter.crt"), "-cert",
           self.at(name + ".crt"), "-rsigner", self.at(signer + ".crt"), "-rkey", self.at(signer + ".key"), "-ndays", "7", "-respout", out)


class Case(unittest.TestCase):
    """Every test has a folder with the whole PKI of its class in it, and a configuration that nothing is wrong with."""

    @classmethod
    def setUpClass(cls):
        cls.store = tempfile.TemporaryDirectory(prefix="gatehouse-check-")
        cls.pki = Pki(cls.store.name)
        cls.addClassCleanup(cls.store.cleanup)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="gatehouse-check-")
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        write(self.path("users"), f"a nt:{NT}\n")
        os.chmod(self.path("users"), 0o600)

    def path(self, name):
        return os.path.join(self.dir, name)

    def cert(self, name="leaf", pem=None, key=None, rules=None, **more):
        """An entry of certificates; rules: its `for`."""
        text = f'{{ name = "{name}"; chain = "{pem or self.pki.at(name + ".pem")}"; key = "{key or self.pki.at(name + ".key")}";'
        if rules:
            text += f" for = {json.dumps(rules)};"
        return text + "".join(f' {k} = "{v}";' for k, v in more.items()) + " }"

    def config(self, *certs, extra="", network="10.214.0.0/16", vpn=True, listen=""):
        """Line 1 has listen, the certificates begin on line 3."""
        certs = certs or (self.cert(),)
        text = f"{listen}\ncertificates: (\n" + ",\n".join(certs) + "\n);\n"
        if vpn:
            text += f'vpn: {{ network = [ "{network}" ]; users = "users"; forward = true; }};\n'
        return write(self.path("g.conf"), text + 'worker: { user = "nobody"; };\ncontrol: { socket = "control"; };\n' + extra)

    def check(self):
        p = subprocess.run([PROGRAM, "check", "--json", "-c", self.path("g.conf")], capture_output=True, text=True, timeout=60)
        out = json.loads(p.stdout)
        errors = [f for f in out["findings"] if f["severity"] == "error"]
        self.assertEqual((p.returncode, out["good"]), (1, False) if errors else (0, True), p.stdout + p.stderr)
        for f in out["findings"]:
            self.assertTrue(f["remedy"] and f["text"] and f["line"] > 0 and os.path.exists(f["file"]), f)
        return out["findings"]

    def expect(self, *want, line=None):
        """These findings, ("severity", "code"), and no others; returns the first."""
        found = self.check()
        self.assertEqual([(f["severity"], f["code"]) for f in found], list(want), json.dumps(found, indent=1))
        if line:
            self.assertEqual((os.path.basename(found[0]["file"]), found[0]["line"]), ("g.conf", line))
        return found[0] if found else None

    def show(self, path, status=None):
        p = subprocess.run([PROGRAM, "cert", "show", "--json", path], capture_output=True, text=True, timeout=60)
        if status is not None:
            self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        return json.loads(p.stdout) if p.stdout else p.stderr


class Files(Case):
    """What is in the files that certificates name."""

    def leaf(self, **spec):
        name = self.pki.issue("x", **spec)
        self.config(self.cert(name))

    def test_good(self):
        self.config()
        self.expect()
        out = sh(PROGRAM, "check", "-c", self.path("g.conf"))
        self.assertIn("is good", out)

    def broken(self, data, *want, key=False):
        part = write(self.path("part"), data)
        self.config(self.cert(key=part) if key else self.cert(pem=part))
        os.chmod(part, 0o600)
        return self.expect(*(("error", w) for w in want), line=3)

    def test_empty(self):
        self.broken("", "cert-empty")
        self.broken("", "key-empty", key=True)

    def test_ten_mebibytes(self):
        for data in (b"A" * (10 << 20), read(self.pki.at("leaf.pem"), "rb") + b"\n" * (10 << 20)):
            self.broken(data, "cert-too-large")
            self.broken(data, "key-too-large", key=True)
            self.assertIn("1 MiB", self.show(self.path("part"), 1))

    def test_not_pem(self):
        sh("openssl", "x509", "-in", self.pki.at("leaf.crt"), "-outform", "DER", "-out", self.path("der"))
        self.broken(read(self.path("der"), "rb"), "cert-not-pem")
        sh("openssl", "pkey", "-in", self.pki.at("leaf.key"), "-outform", "DER", "-out", self.path("der"))
        self.broken(read(self.path("der"), "rb"), "key-not-pem", key=True)
        self.broken("nothing of that kind\n", "cert-unreadable")
        self.broken("nothing of that kind\n", "key-unreadable", key=True)
        self.broken(read(self.pki.at("leaf.key")), "cert-unreadable")
        self.broken(read(self.pki.at("leaf.pem")), "key-unreadable", key=True)

    def test_truncated(self):
        """Cut anywhere: the leaf is there with nothing of the next, or it is the one finding."""
        whole, leaf = read(self.pki.at("leaf.pem")), read(self.pki.at("leaf.crt"))
        for n in range(1, len(whole), 97):
            part = write(self.path("part"), whole[:n])
            self.config(self.cert(pem=part))
            found = self.check()
            codes = [f["code"] for f in found]
            self.assertIn(codes, (["cert-unreadable"], ["cert-chain-incomplete"]), n)
            if len(leaf) + 30 < n or n < len(leaf) - 2:
                self.assertEqual(codes, ["cert-unreadable"], n)
        key = read(self.pki.at("leaf.key"))
        for n in range(1, len(key) - 2, 29):
            self.broken(key[:n], "key-unreadable", key=True)

    def test_damaged(self):
        pem = read(self.pki.at("leaf.pem"))
        at = pem.rindex("-----BEGIN") + 200
        self.broken(pem[:at] + "!" + pem[at + 1:], "cert-unreadable")
        self.assertIn("certificate 2", self.check()[0]["text"])
        self.broken(read(self.pki.at("leaf.crt")) + read(self.pki.at("inter.crt")) * 20, "cert-chain-long")

    def test_crlf_and_byte_order_mark_are_fine(self):
        for change in (lambda b: b.replace(b"\n", b"\r\n"), lambda b: b"\xef\xbb\xbf" + b, lambda b: b"\xef\xbb\xbf" + b.replace(b"\n", b"\r\n"),
                       lambda b: b"some text before\n\n" + b):
            pem, key = (write(self.path(n), change(read(self.pki.at("leaf." + n), "rb"))) for n in ("pem", "key"))
            os.chmod(key, 0o600)
            self.config(self.cert(pem=pem, key=key))
            self.expect()

    def test_encrypted_key(self):
        for args in (["pkey", "-aes128", "-passout", "pass:x"], ["pkey", "-aes128", "-passout", "pass:x", "-traditional"]):
            sh("openssl", *args, "-in", self.pki.at("leaf.key"), "-out", self.path("out"))
            self.broken(read(self.path("out")), "key-encrypted", key=True)

    def test_unreadable(self):
        part = "/proc/self/mem"  # a file, with an error for every reader
        for cert, code in ((self.cert(pem=part), "cert-unreadable"), (self.cert(key=part), "key-unreadable")):
            self.config(cert)
            self.assertIn(os.strerror(5), self.expect(("error", code), line=3)["text"])

    def test_missing(self):
        self.config(self.cert(pem="nothing"))
        self.expect(("error", "config-file-missing"), line=3)

    def test_wrong_key(self):
        self.pki.issue("other", key="P-256#other")
        self.config(self.cert(key=self.pki.at("other.key")))
        self.expect(("error", "key-mismatch"), line=3)

    def test_key_for_everybody(self):
        key = shutil.copyfile(self.pki.at("leaf.key"), self.path("key"))
        os.chmod(key, 0o644)
        self.config(self.cert(key=key))
        self.expect(("warning", "key-exposed"), line=3)

    def test_wrong_order(self):
        for order in (("inter", "leaf"), ("root", "inter", "leaf"), ("inter", "root", "leaf")):
            self.config(self.cert(pem=self.pki.join("turned", *order)))
            self.expect(("error", "cert-leaf-not-first"), line=3)
            self.assertEqual([f["code"] for f in self.show(self.pki.at("turned"), 1)["findings"]], ["cert-leaf-not-first"])
        self.config(self.cert(pem=self.pki.join("turned", "leaf", "root", "inter")))
        self.expect(("warning", "cert-chain-order"), line=3)

    def test_chain(self):
        self.config(self.cert(pem=self.pki.at("leaf.crt")))
        self.expect(("warning", "cert-chain-incomplete"), line=3)
        self.config(self.cert(pem=self.pki.join("gap", "leaf", "root")))
        self.expect(("warning", "cert-chain-incomplete"))
        self.config(self.cert(pem=self.pki.join("full", "leaf", "inter", "root")))
        self.expect(("note", "cert-root-included"), line=3)
        self.leaf(issuer=None)
        self.expect(("note", "cert-self-signed"), line=3)
        self.assertIn("import", self.check()[0]["remedy"])

    def test_issuer(self):
        for spec, want in (({"days": -1, "ago": 10}, "cert-issuer-expired"), ({"ago": -5}, "cert-issuer-not-yet-valid"),
                           ({"key": "rsa:1024"}, "cert-key-weak"), ({"md": "sha1"}, "cert-signature-weak")):
            self.pki.issue("old", issuer="root", ca=True, **spec)
            self.leaf(issuer="old")
            self.expect(("error", want), line=3)
            self.assertIn("certificate 2", self.check()[0]["text"])

    def test_dates(self):
        self.leaf(days=-3, ago=30)
        self.assertIn("3 days ago", self.expect(("error", "cert-expired"), line=3)["text"])
        self.leaf(ago=-2)
        self.expect(("error", "cert-not-yet-valid"), line=3)
        texts = set()
        for days in (29.5, 7.5, 6.5, 0.5):
            self.leaf(days=days)
            f = self.expect(("warning", "cert-expires-soon"), line=3)
            self.assertIn(f"{int(days)} days", f["text"])
            texts.add((days < 7, f["remedy"]))
        self.assertEqual(len(texts), 2)
        self.leaf(days=30.5)
        self.expect()

    def test_usage(self):
        self.leaf(eku="clientAuth")
        self.expect(("error", "cert-usage"), line=3)
        self.leaf(eku="clientAuth,serverAuth")
        self.expect()
        self.leaf(eku="anyExtendedKeyUsage")
        self.expect()
        self.leaf(eku=None)
        self.expect(("warning", "cert-usage-absent"), line=3)
        for ku in ("keyEncipherment", "keyAgreement", "keyCertSign"):
            self.leaf(ku=ku)
            self.expect(("error", "cert-key-usage"), line=3)
        self.leaf(ku="digitalSignature,keyEncipherment")
        self.expect()

    def test_keys(self):
        for key, *want in (("P-256",), ("P-384",), ("rsa:2048",), ("rsa:1024", "error", "cert-key-weak"), ("secp224r1", "error", "cert-key-weak"),
                           ("secp256k1", "error", "cert-key-curve"), ("brainpoolP256r1", "error", "cert-key-curve"),
                           ("ed448", "error", "cert-key-curve"),
                           ("P-521", "warning", "cert-key-rare"), ("ed25519", "warning", "cert-key-rare")):
            self.leaf(key=key)
            self.expect(*([tuple(want)] if want else []))

    def test_signature(self):
        self.pki.issue("signer", issuer="root", ca=True, key="rsa:2048")
        for md in ("sha1", "md5"):
            self.leaf(md=md, issuer="signer")
            self.assertIn(md.upper(), self.expect(("error", "cert-signature-weak"), line=3)["text"])
        self.leaf(md="ripemd160", issuer="signer")
        self.assertIn("cannot be served", self.expect(("error", "cert-unusable"), line=3)["text"])
        self.leaf(md="sha1", issuer=None)  # of a root, nobody looks at it
        self.expect(("note", "cert-self-signed"))

    def test_names(self):
        self.leaf(names=None)
        self.expect(("warning", "cert-no-san"), line=3)
        sh("openssl", "req", "-x509", "-config", self.pki.at("ca.conf"), "-key", self.pki.at("leaf.key"), "-subj", "/O=x", "-days", "90",
           "-addext", "extendedKeyUsage=serverAuth", "-out", self.path("nameless"))
        self.config(self.cert(pem=self.path("nameless")))
        self.expect(("error", "cert-no-name"), ("note", "cert-self-signed"), line=3)
        self.pki.issue("x")
        self.config(self.cert("x", rules=["default", "vpn.example.com", "www.example.com", "0.0.0.0:443"]))
        self.assertIn('"www.example.com"', self.expect(("warning", "cert-wrong-name"), line=3)["text"])
        self.leaf(names="DNS:*.example.com")
        self.config(self.cert("x", rules=["default", "vpn.example.com", "*.example.com"]))
        self.expect()
        self.config(self.cert("x", rules=["default", "a.b.example.com"]))
        self.expect(("warning", "cert-wrong-name"))

    def test_hostile_text(self):
        """A certificate may be anybody's: a terminal obeys none of its bytes, and a cut name is not a name."""
        self.pki.issue("x", cn="\x1b]0;own\x07\u00fc", names="DNS:a\x1b[2J.example.com,DNS:vpn.example.com")
        self.config(self.cert("x", rules=["default", "other.example.com"]), extra='web: ( { name = "\u00fc"; } );\n')
        p = subprocess.run([PROGRAM, "cert", "show", self.pki.at("x.pem")], capture_output=True, timeout=60)
        q = subprocess.run([PROGRAM, "check", "-c", self.path("g.conf")], capture_output=True, timeout=60)
        self.assertIn(b"\\x1B]0;own\\x07\\xC3\\xBC", p.stdout)
        self.assertIn(b"a\\x1B[2J.example.com", p.stdout)
        for out in (p.stdout, p.stderr, q.stdout, q.stderr):
            self.assertFalse(set(out) & (set(range(32)) - {10}), out)
        self.assertEqual(self.show(self.pki.at("x.pem"), 0)["names"][1], "vpn.example.com")
        name = b"vpn.example.com\0.evil.org"
        self.pki.issue("x", names=None, extra="2.5.29.17=DER:30%02x82%02x%s" % (len(name) + 2, len(name), name.hex()))
        self.config(self.cert("x", rules=["default", "vpn.example.com"]))
        self.expect(("warning", "cert-wrong-name"))
        self.assertEqual(self.show(self.pki.at("x.pem"))["names"], ["vpn.example.com\\x00.evil.org"])
        self.leaf(cn="\x1b[2J", issuer="inter", names=None)
        self.expect(("warning", "cert-no-san"))
        self.assertNotIn("\x1b", sh(PROGRAM, "cert", "show", self.pki.at("x.pem")))

    def test_two_of_one_kind(self):
        self.pki.issue("x")
        self.config(self.cert(), self.cert("x"))
        self.expect(("error", "cert-same-key-type"), line=4)
        self.pki.issue("x", key="rsa:2048")
        self.config(self.cert(), self.cert("x"))
        self.expect()
        self.config(self.cert(), self.cert("x"), self.cert("y", pem=self.pki.at("x.pem"), key=self.pki.at("x.key")))
        self.expect(("error", "config-duplicate"))


class Staples(Case):
    def staple(self, name="leaf"):
        self.config(self.cert(name, ocsp=self.path("ocsp")))

    def test_file(self):
        self.staple()
        self.expect(("note", "ocsp-missing"), line=3)
        self.pki.ocsp(self.path("ocsp"))
        self.expect()
        self.pki.ocsp(self.path("ocsp"), status="R")
        self.expect(("error", "ocsp-revoked"), line=3)
        self.pki.issue("x")
        self.pki.ocsp(self.path("ocsp"), name="x")
        self.expect(("warning", "ocsp-wrong"), line=3)
        for junk in (b"", b"junk", b"\x30" * 70000):
            write(self.path("ocsp"), junk)
            self.expect(("warning", "ocsp-wrong"), line=3)
        os.remove(self.path("ocsp"))
        os.mkfifo(self.path("ocsp"))
        self.expect(("warning", "ocsp-unreadable"), line=3)

    def test_without_the_issuer(self):
        """Then no response can be checked, and there is one thing to mend."""
        self.pki.ocsp(self.path("ocsp"))
        self.config(self.cert(pem=self.pki.at("leaf.crt"), ocsp=self.path("ocsp")))
        self.expect(("warning", "cert-chain-incomplete"))

    def test_must_staple(self):
        self.pki.issue("x", extra="tlsfeature=status_request")
        self.config(self.cert("x"))
        self.expect(("warning", "cert-must-staple"), line=3)
        self.staple("x")
        self.expect(("warning", "ocsp-missing"), line=3)
        self.pki.ocsp(self.path("ocsp"), name="x")
        self.expect()

    def test_who_is_asked(self):
        self.pki.issue("x", extra="authorityInfoAccess=OCSP;URI:http://ocsp.example.com/\ncrlDistributionPoints=URI:http://crl.example.com/x")
        self.config(self.cert("x"))
        self.assertIn("http://ocsp.example.com/", self.expect(("note", "cert-not-stapled"), line=3)["text"])
        self.staple("x")
        self.pki.ocsp(self.path("ocsp"), name="x")
        self.expect()
        self.pki.issue("x", extra="crlDistributionPoints=URI:http://crl.example.com/x")
        self.config(self.cert("x"))
        self.assertIn("http://crl.example.com/x", self.expect(("note", "cert-not-stapled"))["text"])


class Shown(Case):
    """Which certificate, for addresses and names. None of these needs the address to be this host's."""

    LISTEN = 'listen: { address = [ "0.0.0.0:443", "[::]:443" ]; };'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pki.issue("www", names="DNS:www.example.com", key="P-256#www")

    def setup_certs(self, leaf, www=None, listen=LISTEN, extra=""):
        self.config(*[self.cert("leaf", rules=leaf)] + ([self.cert("www", rules=www)] if www else []), listen=listen, extra=extra)

    ALERT = 'tls: { no-match = "alert"; };\n'

    def test_no_default(self):
        self.setup_certs(["vpn.example.com"])
        self.assertIn("0.0.0.0:443, [::]:443", self.expect(("warning", "cert-no-default"), line=1)["text"])
        self.setup_certs(["[::]:443"])
        self.assertIn("for 0.0.0.0:443:", self.expect(("warning", "cert-no-default"), line=1)["text"])
        for rules in (["0.0.0.0:443"], ["default"], ["0.0.0.0:443", "[::]:443"]):
            self.setup_certs(rules)
            self.expect()

    def test_alert(self):
        self.setup_certs(["vpn.example.com"], extra=self.ALERT)
        self.expect(("warning", "cert-none-without-name"), line=1)
        self.setup_certs(["[::]:443"], extra=self.ALERT)
        self.assertIn(" 0.0.0.0:443,", self.expect(("error", "cert-none-for-address"), line=1)["text"])
        self.setup_certs(["0.0.0.0:443"], extra=self.ALERT, listen='listen: { address = [ "0.0.0.0:443", "[::]:443", "[::]:8443" ]; };')
        self.assertIn(" [::]:8443,", self.expect(("error", "cert-none-for-address"), line=1)["text"])
        self.setup_certs(["0.0.0.0:443"], extra=self.ALERT)
        self.expect()

    def test_alert_for_a_name(self):
        web = 'web: ( { name = "www.example.com"; root = "/"; } );\n'
        self.setup_certs(["vpn.example.com"], extra=self.ALERT + web)
        self.assertEqual([(f["severity"], f["code"], f["line"]) for f in self.check()],
                         [("warning", "cert-none-without-name", 1), ("error", "cert-none-for-name", 9)])

    def test_name_not_covered(self):
        web = 'web: ( { name = "www.example.com"; root = "/"; } );\n'
        self.setup_certs(["default"], extra=web)
        f = self.expect(("warning", "name-not-covered"), line=8)
        self.assertIn("nor has any other", f["text"])
        self.setup_certs(["default"], ["www.example.com"], extra=web.replace("www", "x"))
        self.expect(("warning", "name-not-covered"), line=9)
        self.setup_certs(["default"], ["www.example.com"], extra=web)
        self.expect()
        self.setup_certs(["default", "0.0.0.0:443"], ["10.9.9.9:443"], extra=web)  # it is reached at that address
        self.assertIn("0.0.0.0:443", self.expect(("warning", "name-not-covered"), line=9)["text"])  # over IPv6 it is not
        self.setup_certs(["default", "0.0.0.0:443"], ["10.9.9.9:443", "[2001:db8::9]:443"], extra=web)
        self.expect(("note", "name-shadowed"), line=9)

    def test_one_certificate_has_it_and_is_not_shown(self):
        web = 'web: ( { name = "www.example.com"; root = "/"; } );\n'
        listen = self.LISTEN.replace(" ];", ', "[::]:8443" ];')
        self.setup_certs(["default"], ["0.0.0.0:8443"], listen=listen, extra=web)
        self.assertIn('in www', self.expect(("warning", "name-not-covered"), line=9)["text"])

    def test_ipv6_only_certificate(self):
        """The fault that is found by clients with IPv6 alone."""
        web = 'web: ( { name = "vpn.example.com"; root = "/"; } );\n'
        self.setup_certs(["default"], ["[::]:443"], extra=web)
        self.assertIn(" [::]:443 ", self.expect(("warning", "name-not-covered"))["text"])

    def test_an_address_outranks_names(self):
        self.setup_certs(["default", "vpn.example.com"], ["10.9.9.9:443"])
        self.assertIn("10.9.9.9:443", self.expect(("note", "name-shadowed"), line=3)["text"])

    def test_nothing_listens(self):
        for rule in ("10.9.9.9:8443", "0.0.0.0:8443", "[::]:8443", "[2001:db8::1]:8443"):
            self.setup_certs(["default", rule])
            self.assertIn(rule, self.expect(("warning", "cert-for-unused"), line=3)["text"])
        self.setup_certs(["default", "10.9.9.9:443", "[2001:db8::1]:443"])
        self.expect()

    def test_broken_certificate_is_one_finding(self):
        broken = write(self.path("broken"), "")
        self.config(self.cert(pem=broken, rules=["default", "vpn.example.com"]), listen=self.LISTEN, extra='web: ( { name = "www.example.com"; } );\n')
        self.expect(("error", "cert-empty"))

    PASS = 'passthrough: ( { name = "%s"; upstream = "10.9.9.9:443"; } );\n'

    def test_passthrough(self):
        self.setup_certs(["default", "vpn.example.com"], extra=self.PASS % "vpn.example.com")
        self.expect(("error", "passthrough-contradicts"), line=8)
        self.setup_certs(["default"], extra=self.PASS % "a.example.com" + 'web: ( { name = "a.example.com"; } );\n')
        self.expect(("error", "passthrough-contradicts"), line=8)
        self.setup_certs(["default", "vpn.example.com"], extra=self.PASS % "*.example.com")
        self.expect(("warning", "passthrough-swallows"), line=8)
        self.setup_certs(["default", "vpn.example.com"], extra=self.PASS % "legacy.example.com")
        self.expect()
        self.setup_certs(["default", "*.example.org"], extra=self.PASS % "*.example.org")
        self.assertEqual([f["code"] for f in self.check()], ["cert-wrong-name", "passthrough-contradicts"])

    def test_contradictory_configurations(self):
        """The parser's own: nothing starts with them."""
        for extra in (self.PASS % "a.example.com" * 2, 'offload: { listen = [ "0.0.0.0:443" ]; from = [ "127.0.0.1" ]; certificates = [ "sha256:%s" ]; };' % ("0" * 64),
                      'web: ( { upstream = "127.0.0.1:80"; root = "/"; } );', 'web: ( { }, { } );', 'web: ( { upstream-h2 = "127.0.0.1:80"; } );'):
            self.setup_certs(["default"], extra=extra)
            found = self.check()
            self.assertTrue(found and {f["severity"] for f in found} == {"error"}, extra)
            self.assertTrue(all(f["code"].startswith("config-") for f in found), found)


class Net(Case):
    LISTEN = 'listen: { address = [ "%s" ]; };'

    def test_loops(self):
        here = 'web: ( { upstream = "%s"; } );\n'
        for to in ("127.0.0.1:443", "127.9.9.9:443", "[::1]:443", "0.0.0.0:443", "[::ffff:127.0.0.1]:443", "10.214.0.1:443"):
            self.config(extra=here % to)
            f = self.expect(("error", "upstream-loops"), line=8)
            self.assertIn(to, f["text"])
        for to in ("127.0.0.1:444", "10.9.9.9:443", "[2001:db8::1]:443"):
            self.config(extra=here % to)
            self.expect()

    def test_loops_of_every_kind(self):
        for extra, listen in (('web: ( { upstream = "10.9.9.9:80"; upstream-h2 = "127.0.0.1:443"; } );\n', ""),
                              ('passthrough: ( { name = "x.example.com"; upstream = "127.0.0.1:443"; } );\n', ""),
                              ('web: ( { upstream = "127.0.0.1:8000"; } );\n', 'listen: { redirect = [ "127.0.0.1:8000" ]; };'),
                              ('web: ( { upstream = "127.0.0.1:8443"; } );\n', 'listen: { address = [ "127.0.0.1:8443" ]; };')):
            self.config(extra=extra, listen=listen)
            self.expect(("error", "upstream-loops"), line=8)
        self.config(extra='web: ( { upstream = "127.0.0.1:443"; } );\n', listen='listen: { address = [ "127.0.0.2:443" ]; };')
        self.expect()

    def test_pool(self):
        out = json.loads(sh("ip", "-j", "-4", "addr")) if shutil.which("ip") else []
        mine = [a for i in out for a in i["addr_info"] if not a["local"].startswith("127.") and a["prefixlen"] < 31]
        if not mine:
            self.skipTest("this host has no IPv4 address but loopback")
        a = mine[0]
        net = [int(x) for x in a["local"].split(".")]
        self.config(network=f"{net[0]}.{net[1]}.0.0/16")
        self.expect(("error", "vpn-network-overlaps"))


class Rest(Case):
    """What has little to do with certificates."""

    def change(self, old, new):
        self.config()
        text = read(self.path("g.conf"))
        self.assertIn(old, text)
        write(self.path("g.conf"), text.replace(old, new))

    def test_account(self):
        self.change('user = "nobody"', 'user = "no-such-account"')
        self.expect(("error", "worker-user"))

    def test_socket_of_an_upstream(self):
        self.config(extra='web: ( { upstream = "unix:/nowhere/at.all"; } );\n')
        self.expect(("warning", "web-upstream"), line=8)

    def test_pool_is_small(self):
        self.config(network="10.214.0.0/24")
        self.expect(("note", "vpn-pool"))

    def test_users(self):
        self.change("users = ", 'auth = [ "mschapv2", "chap" ]; users = ')
        self.expect(("note", "users-chap"))
        self.change("users = ", 'auth = [ "chap", "pap" ]; users = ')
        self.expect(("warning", "users-chap"))
        self.change('users = "users"', 'users = "/proc/self/mem"')
        self.expect(("error", "users-unreadable"))

    def test_forwarding(self):
        self.change(" forward = true;", "")
        on = read("/proc/sys/net/ipv4/ip_forward").strip() == "1"
        self.expect(*[] if on else [("warning", "vpn-forward")])


class Places(Case):
    """File and line of a finding: where it stands, with one spelling of each file, which is the operator's."""

    def places(self, folder, name):
        p = subprocess.run([PROGRAM, "check", "--json", "-c", name], cwd=folder, capture_output=True, text=True, timeout=60)
        return {f["code"]: (f["file"], f["line"]) for f in json.loads(p.stdout)["findings"]}

    def test_files(self):
        self.config()
        os.mkdir(self.path("sub"))
        pem, here = self.pki.at("leaf.pem"), os.path.basename(self.dir)
        write(self.path("g.conf"), f"""certificates: ({self.cert(rules=["vpn.example.com"])});
@include "sub/a.conf"
@include "b.conf"
worker: {{
 threads = 1; user = "no-such-account"; }};
web: ( {{ upstream = "unix:/nowhere/at.all"; }} );
control: {{ socket = "control"; }};
""")
        write(self.path("sub/a.conf"), """listen: { address = [
 "127.0.0.1:443" ]; };

vpn: {
 network = [ "10.214.0.0/24" ]; users = "users"; };
passthrough: ( { name = "x.example.com";
 upstream = "127.0.0.1:443"; } );
""")
        write(self.path("b.conf"), f"""
offload: {{ listen = [
 "0.0.0.0:8443" ];
 from = [ "0.0.0.0/0" ]; certificates = [
 "{pem}",
 "sha256:{'ab' * 32}" ];
}};
tls: {{ ciphers = "NONE-SUCH";
 ciphersuites = "NONE-SUCH"; }};
""")
        want = {"worker-user": ("g.conf", 5), "web-upstream": ("g.conf", 6), "cert-no-default": ("sub/a.conf", 2), "vpn-pool": ("sub/a.conf", 5),
                "upstream-loops": ("sub/a.conf", 7), "offload-open": ("b.conf", 3), "offload-from-anywhere": ("b.conf", 4),
                "offload-hash-unknown": ("b.conf", 6), "offload-no-proxy": ("b.conf", 2), "tls-ciphers": ("b.conf", 9)}
        if read("/proc/sys/net/ipv4/ip_forward").strip() != "1":
            want["vpn-forward"] = ("sub/a.conf", 4)
        for folder, prefix in ((self.dir, ""), (os.path.dirname(self.dir), here + "/"), (self.dir, "./"), ("/", self.dir + "/")):
            self.assertEqual(self.places(folder, prefix + "g.conf"), {code: (prefix + file, line) for code, (file, line) in want.items()})

    def test_networks(self):
        """Where the family or the network of this host matters."""
        out = json.loads(sh("ip", "-j", "addr")) if shutil.which("ip") else []
        mine = {a["family"]: a for i in out for a in i["addr_info"] if a["scope"] == "global" and a["prefixlen"] < 127}
        a = mine.get("inet")
        if not a:
            self.skipTest("this host has no IPv4 address but loopback")
        write(self.path("inc.conf"), f'\nlisten: {{ address = [\n "[::]:443" ]; }};\nvpn: {{ forward = true; users = "users"; network = [\n'
              f' "{a["local"].rsplit(".", 2)[0]}.0.0/16" ]; }};\n')
        self.config(vpn=False, extra='@include "inc.conf"\n')
        found = self.places(self.dir, "g.conf")
        self.assertEqual(found.get("listen-no-ipv4"), ("inc.conf", 3))
        self.assertEqual(found.get("vpn-network-overlaps"), ("inc.conf", 5))

    def test_not_written(self):
        """An option that is not written stands where its section begins."""
        self.config(extra='tls: {\n min-version = "1.2";\n ciphers = "NONE-SUCH"; };\n')
        write(self.path("g.conf"), read(self.path("g.conf")).replace(" forward = true;", ""))
        want = {"tls-ciphers": ("g.conf", 10)}
        if read("/proc/sys/net/ipv4/ip_forward").strip() != "1":
            want["vpn-forward"] = ("g.conf", 5)
        self.assertEqual(self.places(self.dir, "g.conf"), want)

    def test_of_the_server(self):
        """What the running server says about the configuration has the same spelling."""
        self.config()
        Daemon.answer(self, {"config": self.path("g.conf"), "last_reload_error": "x", "certificates": []})
        self.assertEqual(self.places(self.dir, "g.conf"), {"reload-failed": ("g.conf", 1)})


class Offload(Case):
    def front(self, *certificates, listen="127.0.0.1:8443", source="127.0.0.1", extra="proxy-protocol = true;"):
        self.config(extra=f'offload: {{ listen = [ "{listen}" ]; from = [ "{source}" ];\n certificates = {json.dumps(certificates)};\n {extra} }};\n')

    def test_files(self):
        self.front(self.pki.at("leaf.pem"))
        self.expect()
        self.front(write(self.path("both"), read(self.pki.at("leaf.pem")) + read(self.pki.at("leaf.key"))))  # as HAProxy has them
        self.expect()
        for bad in ("", "nothing\n", read(self.pki.at("leaf.key"))):
            self.front(write(self.path("bad"), bad))
            self.expect(("error", "offload-certificate"), line=9)
        self.front("missing.pem")
        self.expect(("error", "offload-certificate"), line=9)
        self.front(self.dir)
        self.expect(("error", "offload-certificate"), line=9)
        self.pki.issue("old", days=-1, ago=9)
        self.front(self.pki.at("old.pem"))
        self.expect(("error", "cert-expired"), line=9)

    def test_hashes(self):
        leaf = self.pki.sha("leaf")
        self.front("sha256:" + leaf, "sha1:" + self.pki.sha("leaf", "sha1"))
        self.expect()
        self.front("sha256:" + leaf)
        self.expect(("note", "offload-sha256-only"), line=9)
        self.front(self.pki.at("leaf.pem"), "sha256:" + "ab" * 32)
        self.expect(("warning", "offload-hash-unknown"), line=9)
        self.front("sha1:" + "ab" * 20)
        self.expect(("note", "offload-hash-unknown"), line=9)

    def test_reach(self):
        pem = self.pki.at("leaf.pem")
        for listen in ("0.0.0.0:8443", "[::]:8443"):
            self.front(pem, listen=listen)
            self.expect(("warning", "offload-open"), line=8)
        self.front(pem, source="0.0.0.0/0")
        self.expect(("warning", "offload-from-anywhere"), line=8)
        self.front(pem, extra="")
        self.expect(("note", "offload-no-proxy"), line=8)
        self.front(pem)
        text = read(self.path("g.conf"))
        write(self.path("g.conf"), text + 'web: ( { upstream = "127.0.0.1:8443"; } );\n')
        self.expect(("error", "upstream-loops"))


class Daemon(Case):
    """What the control socket answers is believed; when nobody answers, nothing is said."""

    def answer(self, status):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path("control"))
        listener.listen()
        self.addCleanup(listener.close)
        body = json.dumps(status) if not isinstance(status, str) else status

        def serve():
            conn, _ = listener.accept()
            with conn, conn.makefile("rb") as request:
                for line in iter(request.readline, b"\r\n"):
                    if not line:
                        return
                conn.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}".encode())
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)

    def status(self, **cert):
        served = {"name": "leaf", "state": "good", "reason": "", "sha256": self.pki.sha("leaf"), **cert}
        return {"config": self.path("g.conf"), "last_reload_error": "", "certificates": [served]}

    def test_in_step(self):
        self.config()
        self.answer(self.status())
        self.expect()

    def test_kept(self):
        self.config()
        self.answer(self.status(state="kept", reason="its key\x1b[2J does not belong", sha256="ab" * 32))
        f = self.expect(("warning", "cert-kept"), line=3)
        self.assertIn("its key?[2J does not belong", f["text"])

    def test_another_is_served(self):
        self.config()
        self.answer(self.status(sha256="ab" * 32))
        self.expect(("warning", "cert-not-served"), line=3)

    def test_reload(self):
        self.config()
        self.answer({**self.status(), "last_reload_error": "g.conf:1: no"})
        self.expect(("warning", "reload-failed"))

    def test_another_configuration(self):
        self.config()
        self.answer({**self.status(state="kept"), "config": "/elsewhere"})
        self.expect()

    def test_nonsense(self):
        self.config()
        for body in ("junk", "[]", {"certificates": 1}, {"certificates": [1, None, {"name": 2}]}):
            self.answer(body)
            self.expect()
            os.remove(self.path("control"))

    def test_nobody(self):
        self.config()
        write(self.path("control"), "")
        self.expect()


class Page(unittest.TestCase):
    def test_every_code_is_listed(self):
        """docs/check.md has each code of the source once, and no others."""
        codes = set()
        for folder, pattern, code in (("src/cli", r"(check\w*|certfile|certjudge)\.c", r'"([a-z]+(?:-[a-z0-9]+)+)"'),
                                      ("src/server", r"config\w*\.c", r'"(config-[a-z-]+)"'),
                                      ("src/config", r"\w+\.c", r'"(config-[a-z-]+)"')):
            for name in os.listdir(os.path.join(SOURCE, folder)):
                if re.fullmatch(pattern, name):
                    codes |= set(re.findall(code, read(os.path.join(SOURCE, folder, name))))
        listed = re.findall(r"^\| `([a-z0-9-]+)` \|", read(os.path.join(SOURCE, "docs/check.md")), re.MULTILINE)
        self.assertGreater(len(codes), 60)
        self.assertEqual(sorted(listed), sorted(codes))


if __name__ == "__main__":
    unittest.main()
