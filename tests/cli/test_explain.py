#!/usr/bin/env python3
"""gatehouse explain: codes in every spelling, and what is served at an address, for every combination of rules. Usage:
test_explain.py PROGRAM"""
import itertools
import json
import os
import unittest
from concurrent.futures import ThreadPoolExecutor

from test_cli import Cli

SSTP = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/"


class Codes(Cli):
    def code(self, *words):
        return json.loads(self.run_it("explain", "--json", *words)[0])

    def test_spellings(self):
        for words in (["0x80092013"], ["0X80092013"], ["80092013"], ["-2146885613"], ["2148081683"], ["HRESULT", "-2146885613"],
                      ["CRYPT_E_REVOCATION_OFFLINE"], ["error 0x80092013"]):
            c = self.code(*words)
            self.assertEqual((c["kind"], c["code"], c["decimal"]), ("HRESULT", "0x80092013", -2146885613))
        for words, code in ((["619"], "619"), (["error", "619"], "619"), (["RasSstp", "6"], "RasSstp 6"), (["rassstp:6"], "RasSstp 6"),
                            (["REMOTEACCESS 20255"], "RemoteAccess 20255"), (["20227"], "RasClient 20227"), (["10060"], "0x8007274C"),
                            (["0x800702b3"], "691"), (["binding-mismatch"], "binding-mismatch"), (["binding-cert"], "binding-cert")):
            self.assertEqual(self.code(*words)["code"], code)

    def test_a_negative_number_among_options(self):
        for args in (["-2146762487"], ["-2146762487", "--json"], ["--json", "-2146762487"], ["-c", "nothing", "-2146762487"]):
            self.assertIn("0x800B0109", self.run_it("explain", *args)[0])

    def test_text(self):
        out = self.run_it("explain", "RasSstp", "6")[0]
        for part in ("RasSstp 6, at the client", "\nsays ", "\nhere ", "\ndo ", "binding-mismatch: ", "RasSstp 6, 32"):
            self.assertIn(part, out)
        out = self.run_it("explain", "binding-mismatch")[0]
        for part in ("an event, notice, of Gatehouse", "client_sent", "re-encrypting", "Windows RasSstp 6"):
            self.assertIn(part, out)
        self.assertIn("cannot come from an SSTP call", " ".join(self.run_it("explain", "679")[0].split()))
        for code in ("619", "0x80072746", "binding-mismatch", "RasSstp 1"):
            self.assertLessEqual(max(map(len, self.run_it("explain", code)[0].splitlines())), 80)

    def test_what_connect_prints(self):
        for words in (["RasClient 20227 (691)"], ["20227 (691)"], ["RasClient", "20227", "(691)"]):
            c = self.code(*words)
            self.assertEqual((c["code"], c["event"]["code"]), ("691", "RasClient 20227"))
        out = self.run_it("explain", "RasClient 20226 (629)")[0]
        self.assertTrue(out.startswith("error 629"), out)
        self.assertIn("\nlogged  RasClient 20226: ", out)
        c = self.code("certificate")
        self.assertEqual((c["kind"], c["exit"]), ("client-cause", 6))
        self.assertNotIn("also", c)
        out = self.run_it("explain", "certificate")[0]
        for part in ("certificate, a cause of gatehouse connect, of Gatehouse", "\nexit    6", "\ndo ", "\nWindows RasSstp 1"):
            self.assertIn(part, out)

    def test_a_name_of_both_ends(self):
        for name in ("binding", "lost", "no-address"):
            c = self.code(name)
            self.assertEqual([c["kind"], *(x["kind"] for x in c["also"])], ["cause", "client-cause"])
            out = self.run_it("explain", name)[0]
            self.assertLess(out.index(f"{name}, a cause of call-down"), out.index(f"\n\n{name}, a cause of gatehouse connect"))

    def test_unknown(self):
        for words, said in ((["6"], "RasSstp 6"), (["bindng-cert"], "binding-cert"), (["947"], "946"), (["xyzzy"], "0x800B0109"),
                            (["a", "b"], "0x800B0109"), (["0x"], "0x800B0109")):
            out, err = self.run_it("explain", *words, status=1)
            self.assertEqual((out, err.count("\n")), ("", 1))
            self.assertIn(said, err)

    def test_usage(self):
        for args in ([], ["--list", "619"], ["--nonsense"], ["-1", "-2"], ["619" * 200]):
            self.run_it("explain", *args, status=2)

    def test_list(self):
        codes = json.loads(self.run_it("explain", "--list", "--json")[0])["codes"]
        lines = self.run_it("explain", "--list")[0].splitlines()
        self.assertEqual(len(lines), len(codes))
        for line, c in zip(lines, codes):
            self.assertTrue(line.startswith(c["code"] + " "), line)
            self.assertIn(c["means"], line)
        self.assertEqual(len(codes), len({(c["kind"], c["code"]) for c in codes}))


# What each certificate is for; its name is the key.
RULES = {"addr4": "203.0.113.5:443", "addr6": "[2001:db8::5]:443", "name": "vpn.example.com", "wild": "*.example.com",
         "any6": "[::]:443", "any": "0.0.0.0:443", "default": "default"}
ORDER = list(RULES)
DIALLED = {4: "203.0.113.5", 6: "2001:db8::5"}
NAMES = (None, "vpn.example.com", "www.example.com", "a.b.example.org")


def matches(rule, family, name):
    return {"addr4": family == 4, "addr6": family == 6, "name": name == "vpn.example.com",
            "wild": name in ("vpn.example.com", "www.example.com"), "any6": family == 6, "any": True, "default": True}[rule]


class Served(Cli):
    def setUp(self):
        super().setUp()
        self.run_it("cert", "new", "vpn.example.com", "*.example.com", "--out-cert", "c.pem", "--out-key", "c.key")
        self.write("users", "")

    def certificates(self, rules, name="g.conf", more=""):
        entries = ",\n".join(f'{{ name = "{r}"; chain = "c.pem"; key = "c.key"; for = [ "{RULES[r]}" ]; }}' for r in rules)
        return self.write(name, f'listen: {{ address = [ "0.0.0.0:443", "[::]:443" ]; }};\ncertificates: ( {entries} );\n{more}')

    def ask(self, *args, config="g.conf", status=0):
        return json.loads(self.run_it("explain", "--json", "-c", config, *args, status=status)[0])

    def test_every_combination_of_rules(self):
        def judge(rules):
            config = self.certificates(rules, "-".join(rules) + ".conf")
            for family, name in itertools.product((4, 6), NAMES):
                r = self.ask(DIALLED[family], *([name] if name else []), config=config)
                fit = [x for x in ORDER if x in rules and matches(x, family, name)]
                shown = fit[0] if fit else rules[0]  # tls.no-match is default: the first in the file
                where = (rules, family, name)
                self.assertEqual([c["name"] for c in r["certificates"]], [shown], where)
                self.assertEqual(r["rule"], RULES[shown] if fit else None, where)
                lost = {x["certificate"]: x["why"] for x in r["lost"]}
                self.assertEqual(set(lost), set(rules) - set(fit[:1]), where)
                for other, why in lost.items():
                    self.assertEqual(why.startswith("comes after "), other in fit, (*where, other, why))
                self.assertFalse(r["refused"])

        sets = [tuple(reversed(s)) for n in (1, 2, 3, 7) for s in itertools.combinations(ORDER, n)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(judge, sets))

    def test_no_match_alert(self):
        self.certificates(["name"], more='tls: { no-match = "alert"; };\n')
        for address, name in itertools.product(DIALLED.values(), NAMES):
            served = name == "vpn.example.com"
            r = self.ask(address, *([name] if name else []), status=0 if served else 1)
            self.assertEqual((r["refused"], len(r["certificates"])), (not served, int(served)))
        out = self.run_it("explain", "-c", "g.conf", "203.0.113.5", status=1)[0]
        self.assertIn("unrecognized_name", out)

    def test_both_of_a_pair(self):
        self.run_it("cert", "new", "vpn.example.com", "--key", "rsa", "--out-cert", "r.pem", "--out-key", "r.key")
        self.certificates(["name", "default"])
        self.write("g.conf", self.read("g.conf").replace("certificates: (", 'certificates: ( { name = "rsa"; chain = "r.pem"; '
                                                         'key = "r.key"; for = [ "vpn.example.com" ]; },'))
        r = self.ask("203.0.113.5", "vpn.example.com")
        self.assertEqual([(c["name"], c["key_type"]) for c in r["certificates"]], [("rsa", "RSA"), ("name", "EC P-256")])
        self.assertEqual([x["rule"] for x in r["lost"]], ["default"])

    def test_the_certificate(self):
        self.certificates(["default"])
        shown = json.loads(self.run_it("cert", "show", "--json", "c.pem")[0])
        c = self.ask("203.0.113.5", "VPN.Example.Com.")["certificates"][0]
        for key in ("sha256", "sha1", "not_before", "not_after", "subject", "key_type"):
            self.assertEqual(c[key], shown[key])
        self.assertEqual((c["chain"], c["warning"]), (os.path.realpath(self.path("c.pem")), None))
        out = self.run_it("explain", "-c", "g.conf", "203.0.113.5")[0]
        for text in (shown["sha256"], shown["sha1"], "EC P-256"):
            self.assertIn(text, out)
        self.assertIn("does not have the name", self.ask("203.0.113.5", "other.example.org")["certificates"][0]["warning"])
        self.write("c.pem", "nothing\n")
        self.assertIn("error", self.ask("203.0.113.5", status=1)["certificates"][0])

    def test_listeners(self):
        self.write("g.conf", 'listen: { address = [ "0.0.0.0:443", "192.0.2.1:444", "[::1]:443" ]; redirect = [ "0.0.0.0:80" ]; };\n'
                   'certificates: ( { chain = "c.pem"; key = "c.key"; } );\n'
                   'offload: { listen = [ "127.0.0.1:8443", "192.0.2.1:443" ]; from = [ "127.0.0.1" ]; certificates = [ "c.pem" ]; };\n')
        for address, listener, listen in (("203.0.113.5", "tls", "0.0.0.0:443"), ("192.0.2.1", "offload", "192.0.2.1:443"),
                                          ("192.0.2.1:444", "tls", "192.0.2.1:444"), ("[::1]", "tls", "[::1]:443"),
                                          ("::1", "tls", "[::1]:443"), ("127.0.0.1:8443", "offload", "127.0.0.1:8443"),
                                          ("203.0.113.5:80", "redirect", "0.0.0.0:80")):
            r = self.ask(address)
            self.assertEqual((r["listener"], r["listen"]), (listener, listen), address)
        for address in ("203.0.113.5:444", "[::2]:443", "[::1]:80"):
            self.assertEqual(self.ask(address, status=1)["listener"], "none")
            self.assertIn("nobody", self.run_it("explain", "-c", "g.conf", address, status=1)[0])
        self.assertEqual(self.ask("192.0.2.1")["accepts"], [os.path.realpath(self.path("c.pem"))])

    def test_passthrough(self):
        self.certificates(["default"], more='passthrough: ( { name = "*.example.com"; upstream = "192.0.2.7:443"; }, '
                          '{ name = "a.example.com"; upstream = "192.0.2.8:443"; proxy-protocol = "v2"; } );\n')
        for name, upstream in (("a.example.com", "192.0.2.8:443"), ("b.example.com", "192.0.2.7:443")):
            r = self.ask("203.0.113.5", name)
            self.assertEqual(r["passthrough"]["upstream"], upstream)
            self.assertNotIn("certificates", r)
        for name in ([], ["example.com"], ["x.a.example.com"]):
            self.assertNotIn("passthrough", self.ask("203.0.113.5", *name))

    def goes(self, *request, name=(), config="g.conf"):
        r = self.ask("203.0.113.5", *name, *request, config=config)
        return r["request"]["goes"], r["request"]["status"]

    def test_requests(self):
        spelled = SSTP.replace("{", "%7B").replace("}", "%7d").upper().replace("SRA", "%73ra")
        for answer in ("401", "404", "web"):
            self.certificates(["default"], more='vpn: { network = [ "10.77.0.0/16" ]; users = "users"; probe-answer = "%s"; };\n' % answer)
            probe = ("web", None) if answer == "web" else ("reply", int(answer))
            for target in (SSTP, spelled, SSTP + "?x=1", "https://vpn.example.com" + SSTP, "/." + SSTP, "/x/.." + SSTP, "/" + SSTP):
                self.assertEqual(self.goes("SSTP_DUPLEX_POST", target), ("call", 200), target)
                for method in ("GET", "HEAD", "POST"):
                    self.assertEqual(self.goes(method, target), probe, (method, target))
            self.assertEqual(self.goes("SSTP_DUPLEX_POST", SSTP[:-1]), ("reply", 404))
            for method, target in (("GET", "/"), ("GET", "https://vpn.example.com/x"), ("SSTP_DUPLEX_POST", "/"), ("CONNECT", "x:1"),
                                   ("GET", SSTP + "more")):
                self.assertEqual(self.goes(method, target), ("web", None), (method, target))
        self.certificates(["default"])  # without a vpn section
        for method in ("SSTP_DUPLEX_POST", "GET"):
            self.assertEqual(self.goes(method, SSTP), ("reply", 400))

    def test_sites(self):
        os.mkdir(self.path("root"))
        self.certificates(["default"], more='web: ( { upstream = "127.0.0.1:8080"; upstream-h2 = "127.0.0.1:8081"; },\n'
                          '{ name = "*.example.com"; root = "root"; }, { name = "w.example.com"; }, '
                          '{ name = "u.example.com"; upstream = "unix:/run/u.sock"; proxy-protocol = "v1"; } );\n')
        for name, kind, upstream in ((None, "upstream", "127.0.0.1:8080"), ("x.example.org", "upstream", "127.0.0.1:8080"),
                                     ("x.example.com", "root", None), ("w.example.com", "welcome", None),
                                     ("u.example.com", "upstream", "unix:/run/u.sock")):
            web = self.ask("203.0.113.5", *([name] if name else []), "GET", "/")["web"]
            self.assertEqual((web["kind"], web["upstream"]), (kind, upstream), name)

    def test_usage(self):
        self.certificates(["default"])
        for args in (["1.2.3"], ["1.2.3.4:0"], ["1.2.3.4:x"], ["[::"], ["[::1]443"], ["0.0.0.0"], ["[::]:443"], ["1.2.3.4", "a b"],
                     ["1.2.3.4", "a", "GET", "/", "more"], ["1.2.3.4", "GET", "/a b"], ["1.2.3.4", "G\tT", "/"], ["1.2.3.4", "a", "", "/"]):
            out, err = self.run_it("explain", "-c", "g.conf", *args, status=2)
            self.assertEqual((out, err.count("\n")), ("", 1), args)
        self.run_it("explain", "-c", "nothing.conf", "1.2.3.4", status=2)


if __name__ == "__main__":
    unittest.main()
