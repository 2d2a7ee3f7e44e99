#!/usr/bin/env python3
"""gatehouse profile: each kind by its own grammar, with names that are meant to break out of it. Usage: test_profile.py PROGRAM"""
import base64
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import unittest
import xml.etree.ElementTree as ET

from test_cli import PROGRAM, Cli

HOSTILE = ["O'Neil & Söhne", "a'; Remove-Item C:\\ -Recurse; '", "\u2019; calc; \u2018", "\u201b\u201a'", '$(calc) `n "x"', "<b>&amp;]]>",
           '"; }; server: { insecure = true; }; #', "\\", "\\\"", "a # b", "%s%n", '"\\2F /system reset', "[/user remove 0]", "$x{y}?"]

# What the VPNv2 configuration service provider knows, in the order of its schema; the value: what is inside.
CSP = {"VPNProfile": ["EdpModeId", "RememberCredentials", "AlwaysOn", "DnsSuffix", "TrustedNetworkDetection", "LockDown", "DeviceTunnel",
                      "RegisterDNS", "ByPassForLocal", "Proxy", "APNBinding", "DeviceCompliance", "PluginProfile", "AppTrigger",
                      "DomainNameInformation", "TrafficFilter", "NativeProfile", "Route"],
       "NativeProfile": ["Servers", "RoutingPolicyType", "NativeProtocolType", "L2tpPsk", "DisableClassBasedDefaultRoute",
                         "PlumbIKEv2TSAsRoutes", "CryptographySuite", "Authentication"],
       "Authentication": ["UserMethod", "MachineMethod", "Eap"], "Route": ["Address", "PrefixSize", "Metric", "ExclusionRoute"]}
# Parameters of the cmdlets, and the values that are used here.
CMDLETS = {"Add-VpnConnection": {"Name", "ServerAddress", "TunnelType", "AuthenticationMethod", "EncryptionLevel", "RememberCredential",
                                 "SplitTunneling", "Force"},
           "Add-VpnConnectionRoute": {"ConnectionName", "DestinationPrefix"},
           "Get-VpnConnection": {"Name", "ErrorAction"}, "Remove-VpnConnection": {"Name", "Force"},
           "New-Object": {"ArgumentList"}}
SSTP_CLIENT = {"name", "connect-to", "port", "user", "profile", "authentication", "tls-version", "ciphers", "verify-server-certificate",
               "verify-server-address-from-certificate", "add-sni", "add-default-route", "disabled"}
QUOTES = "'\u2018\u2019\u201a\u201b"


def powershell(text):
    """[(kind, value)] of a script, kind being word or string; as PowerShell cuts it, for the part of it that is used here."""
    tokens, i = [], 0
    text = text.removeprefix("\ufeff")
    while i < len(text):
        if text[i] == "#":
            i = text.find("\n", i) % (len(text) + 1)
        elif text.startswith("@'\n", i):
            end = text.index("\n'@", i)
            tokens.append(("string", text[i + 3:end]))
            i = end + 3
        elif text[i] in QUOTES:
            value, i = "", i + 1
            while True:
                if text[i] not in QUOTES:
                    value += text[i]
                elif i + 1 < len(text) and text[i + 1] in QUOTES:
                    value += text[i]
                    i += 1
                else:
                    break
                i += 1
            tokens.append(("string", value))
            i += 1
        elif text[i] in "\"`":
            raise AssertionError(f"{text[i]} outside of a string")
        elif text[i].isspace() or text[i] in "()[]{},;":
            tokens.append(("newline", "\n")) if text[i] in "\n{};" else None
            i += 1
        else:
            m = re.compile(r"[^\s()\[\]{},;'\"#`]+").match(text, i)
            tokens.append(("word", m[0]))
            i = m.end()
    return tokens


def commands(tokens):
    """[(cmdlet, {parameter: value})], values None for switches."""
    found, at = [], None
    for kind, value in tokens:
        if kind == "newline":
            at = None
        elif kind == "word" and re.fullmatch(r"[A-Z][a-z]+-[A-Z]\w+", value) and at is None:
            found.append((value, {}))
            at = last = value
        elif at and kind == "word" and value.startswith("-"):
            found[-1][1][value[1:]] = None
            last = value[1:]
        elif at and last in found[-1][1] and found[-1][1][last] is None:
            found[-1][1][last] = (kind, value)
    return found


def routeros(text):
    """Lines of a script, continued ones joined, comments left out, texts decoded: [[word or (name, value)]]."""
    lines = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("#"):
            continue
        words, i = [], 0
        while i < len(line):
            m = re.compile(r'\s*(?:([a-z0-9-]+)=)?(?:"((?:[^"\\$\[]|\\[0-9A-F]{2})*)"|([^\s"]+))(?=\s|$)').match(line, i)
            if not m:
                raise AssertionError(f"{line[i:]!r} is not understood")
            value = m[3]
            if value is None:
                value = re.sub(rb"\\([0-9A-F]{2})", lambda h: bytes.fromhex(h[1].decode()), m[2].encode()).decode()
            words.append((m[1], value) if m[1] else value)
            i = m.end()
        lines.append(words)
    return lines


class Profile(Cli):
    def setUp(self):
        super().setUp()
        self.configure()
        self.write("users", "")

    def profile(self, kind, *args, status=0, config="g.conf"):
        return self.run_it("profile", kind, "-c", config, *args, status=status)

    def conf(self, name, text):
        return self.write(name, text + 'vpn: { network = [ "10.77.0.0/16", "10.78.0.0/24" ]; users = "users"; };\n')

    def der(self, path="c.pem"):
        return ssl.PEM_cert_to_DER_cert(re.search(r"-----BEGIN.*?END CERTIFICATE-----\n", self.read(path), re.S)[0])

    def authority(self):
        """ca.pem; leaf.pem, signed by it, for vpn.example.net; both.pem: leaf and authority."""
        def openssl(*args):
            subprocess.run(["openssl", *args], cwd=self.folder.name, check=True, capture_output=True)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
                "-subj", "/CN=Private", "-days", "30")
        self.run_it("cert", "new", "vpn.example.net", "--csr", "--out-cert", "leaf.csr", "--out-key", "leaf.key")
        openssl("x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-copy_extensions", "copy", "-days", "20", "-out",
                "leaf.pem")
        self.write("both.pem", self.read("leaf.pem") + self.read("ca.pem"))


class Windows(Profile):
    def script(self, *args, **kwargs):
        text = self.profile("windows", *args, **kwargs)[0]
        found = commands(powershell(text))
        for cmdlet, parameters in found:
            self.assertLessEqual(set(parameters), CMDLETS[cmdlet], cmdlet)
        return text, dict((c, p) for c, p in found), [p for c, p in found if c == "Add-VpnConnectionRoute"]

    def test_everything_through_the_tunnel(self):
        text, found, routes = self.script()
        add = found["Add-VpnConnection"]
        self.assertEqual(add["ServerAddress"], ("string", "vpn.example.com"))
        self.assertEqual([add[p][1] for p in ("TunnelType", "AuthenticationMethod", "EncryptionLevel")], ["Sstp", "MSChapv2", "Required"])
        self.assertNotIn("SplitTunneling", add)
        self.assertEqual(routes, [])
        self.assertIn("$name = 'Gatehouse'\n", text)
        self.assertFalse(text.startswith("\ufeff"))

    def test_split(self):
        for args, want in ((["--split"], ["10.77.0.0/16"]), (["--route", "2001:db8::/32", "--route", "192.0.2.1"],
                                                            ["10.77.0.0/16", "2001:db8::/32", "192.0.2.1/32"])):
            _, found, routes = self.script(*args)
            self.assertIn("SplitTunneling", found["Add-VpnConnection"])
            self.assertEqual([r["DestinationPrefix"][1] for r in routes], want)
            self.assertEqual({r["ConnectionName"] for r in routes}, {("word", "$name")})

    def test_names_that_want_out(self):
        for name in HOSTILE:
            text, _, _ = self.script("--name", name, "--user", name)
            tokens = powershell(text)
            at = tokens.index(("word", "$name"))
            self.assertEqual(tokens[at + 1:at + 3], [("word", "="), ("string", name)], name)
            self.assertEqual(text.startswith("\ufeff"), not name.isascii())

    def test_refused_names(self):
        for name in ("", "a\nb", "a\rb", "a\u2028b", "a\x1bb", "x" * 65):
            self.assertIn("--name is one line", self.profile("windows", "--name", name, status=2)[1])
        self.assertIn("--user is one line", self.profile("linux", "--user", "a\nb", status=2)[1])

    def test_methods(self):
        for auth, method, level in (('"mschapv2", "chap", "pap"', "MSChapv2", "Required"), ('"chap", "pap"', "Chap", "Optional"),
                                    ('"pap"', "Pap", "Optional")):
            self.write("a.conf", self.read("g.conf").replace("forward", f"auth = [ {auth} ]; forward"))
            add = self.script(config="a.conf")[1]["Add-VpnConnection"]
            self.assertEqual((add["AuthenticationMethod"][1], add["EncryptionLevel"][1]), (method, level))
        self.assertIn("mschapv2", self.profile("windows", "--xml", config="a.conf", status=1)[1])

    def embedded(self, text):
        found = re.search(r"FromBase64String\(@'\n(.*?)\n'@\)", text, re.S)
        self.assertEqual(bool(found), "#Requires -RunAsAdministrator" in text)
        return base64.b64decode(found[1]) if found else None

    def test_a_private_authority(self):
        self.assertEqual(self.embedded(self.script()[0]), self.der())
        self.authority()
        self.conf("n.conf", 'certificates: ( { chain = "both.pem"; key = "leaf.key"; } );\n')
        self.assertEqual(self.embedded(self.script(config="n.conf")[0]), self.der("ca.pem"))
        self.conf("l.conf", 'certificates: ( { chain = "leaf.pem"; key = "leaf.key"; } );\n')
        self.assertIn("--ca FILE", self.profile("windows", config="l.conf", status=1)[1])
        self.assertEqual(self.embedded(self.script("--ca", "ca.pem", config="l.conf")[0]), self.der("ca.pem"))
        self.assertIn("nowhere.pem", self.profile("windows", "--ca", "nowhere.pem", config="l.conf", status=1)[1])

    def test_a_public_authority(self):
        """What this machine's own list leads to is known to clients as well: nothing to import, nothing to pin."""
        self.authority()
        self.conf("l.conf", 'certificates: ( { chain = "leaf.pem"; key = "leaf.key"; } );\n')
        os.environ["SSL_CERT_FILE"] = self.path("ca.pem")
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        self.assertIsNone(self.embedded(self.script(config="l.conf")[0]))
        self.assertNotIn("pin", self.profile("linux", config="l.conf")[0])
        self.assertNotIn("BEGIN", self.profile("routeros", config="l.conf")[0])

    def test_powershell_itself(self):
        pwsh = shutil.which("pwsh")
        if not pwsh:
            self.skipTest("pwsh is not installed; Debian has no package of it")
        for name in HOSTILE:
            path = self.write("p.ps1", self.script("--name", name)[0])
            check = f"$e = $null; [void][System.Management.Automation.Language.Parser]::ParseFile('{path}', [ref]$null, [ref]$e); exit $e.Count"
            self.assertEqual(subprocess.run([pwsh, "-NoProfile", "-Command", check], check=False).returncode, 0, name)

    def judge(self, element):
        order = CSP[element.tag]
        tags = [e.tag for e in element]
        self.assertLessEqual(set(tags), set(order))
        self.assertEqual(tags, sorted(tags, key=order.index))
        for e in element:
            if e.tag in CSP:
                self.judge(e)
            else:
                self.assertEqual(len(e), 0)

    def xml(self, *args, **kwargs):
        text = self.profile("windows", "--xml", *args, **kwargs)[0]
        root = ET.fromstring(text)
        self.assertEqual(root.tag, "VPNProfile")
        self.judge(root)
        return text, root

    def test_profile_xml(self):
        text, root = self.xml()
        native = root.find("NativeProfile")
        self.assertEqual(native.findtext("Servers"), "vpn.example.com")
        self.assertEqual(native.findtext("NativeProtocolType"), "Sstp")
        self.assertEqual(native.findtext("Authentication/UserMethod"), "MSChapv2")
        self.assertEqual(native.findtext("RoutingPolicyType"), "ForceTunnel")
        self.assertEqual(root.findall("Route"), [])
        self.assertIn("trusted root", text)
        _, root = self.xml("--route", "2001:db8::/32")
        self.assertEqual(root.findtext("NativeProfile/RoutingPolicyType"), "SplitTunnel")
        self.assertEqual([(r.findtext("Address"), r.findtext("PrefixSize")) for r in root.findall("Route")],
                         [("10.77.0.0", "16"), ("2001:db8::", "32")])


class Linux(Profile):
    def parsed(self, text, good=True):
        """Through the parser of gatehouse connect: 3 is that no client runs, 2 that the file is bad."""
        self.write("client.conf", text)
        err = self.run_it("status", "--connect", "-c", "client.conf", status=3 if good else 2)[1]
        self.assertIn("is 'gatehouse connect' running?" if good else "client.conf:", err)

    def test_it_is_read(self):
        text = self.profile("linux")[0]
        self.parsed(text)
        self.assertIn('url = "https://vpn.example.com";', text)
        self.assertIn(f'pin = [ "sha256:{hashlib.sha256(self.der()).hexdigest()}" ];', text)
        self.assertIn("default-route = true;", text)
        self.parsed(text.replace("default-route", "default-rout"), good=False)
        text = self.profile("linux", "--route", "2001:db8::/32", "--address", "vpn.example.com:8443")[0]
        self.parsed(text)
        self.assertIn('routes = [ "10.77.0.0/16", "2001:db8::/32" ];', text)
        self.assertIn('url = "https://vpn.example.com:8443";', text)

    def test_names_that_want_out(self):
        for name in HOSTILE:
            text = self.profile("linux", "--name", name, "--user", name)[0]
            self.parsed(text)
            line = next(l for l in text.splitlines() if l.startswith("  user = "))
            self.assertEqual(re.sub(r"\\(.)", r"\1", line.removeprefix('  user = "').removesuffix('";')), name)
            self.assertNotIn("\n  insecure", text)

    def test_methods(self):
        self.write("a.conf", self.read("g.conf").replace("forward", 'auth = [ "chap", "pap" ]; forward'))
        text = self.profile("linux", config="a.conf")[0]
        self.assertIn('auth = [ "chap", "pap" ];', text)
        self.parsed(text)
        self.assertNotIn("auth =", self.profile("linux")[0])


class RouterOS(Profile):
    def script(self, *args, **kwargs):
        text = self.profile("routeros", *args, **kwargs)[0]
        lines = routeros(text)
        self.assertEqual(lines[0], ["/interface", "sstp-client"])
        self.assertEqual(lines[1][0], "add")
        properties = dict(lines[1][1:])
        self.assertEqual(set(properties), SSTP_CLIENT)
        return text, properties, lines[2:]

    def test_everything_through_the_tunnel(self):
        text, p, routes = self.script("--user", "anna")
        self.assertEqual((p["name"], p["connect-to"], p["port"], p["user"]), ("Gatehouse", "vpn.example.com", "443", "anna"))
        self.assertEqual((p["verify-server-certificate"], p["verify-server-address-from-certificate"]), ("yes", "yes"))
        self.assertEqual((p["authentication"], p["add-default-route"], p["add-sni"]), ("mschap2", "yes", "yes"))
        self.assertEqual(routes, [])
        pem = "\n".join(l[2:] for l in text.splitlines() if re.match(r"# (-----|[\w+/=]{20,}$)", l)) + "\n"
        self.assertEqual(ssl.PEM_cert_to_DER_cert(pem), self.der())

    def test_split(self):
        _, p, routes = self.script("--route", "2001:db8::/32", "--name", "x y")
        self.assertEqual(p["add-default-route"], "no")
        self.assertEqual(routes, [["/ip", "route", "add", ("dst-address", "10.77.0.0/16"), ("gateway", "x y")],
                                  ["/ipv6", "route", "add", ("dst-address", "2001:db8::/32"), ("gateway", "x y")]])

    def test_names_that_want_out(self):
        for name in HOSTILE:
            text, p, _ = self.script("--name", name, "--user", name)
            self.assertEqual((p["name"], p["user"]), (name, name))
            self.assertEqual([l for l in text.splitlines() if not l.startswith(("#", "/", "add ", "    "))], [])


class Address(Profile):
    def address(self, config, *args):
        return re.search(r'url = "https://([^"]*)"', self.profile("linux", *args, config=config)[0])[1]

    def test_best_name(self):
        self.run_it("cert", "new", "www.example.org", "*.example.org", "vpn.example.org", "192.0.2.7", "--out-cert", "o.pem", "--out-key", "o.key")
        self.run_it("cert", "new", "192.0.2.8", "localhost", "--out-cert", "i.pem", "--out-key", "i.key")
        self.run_it("cert", "new", "*.example.org", "--out-cert", "w.pem", "--out-key", "w.key")
        o = 'chain = "o.pem"; key = "o.key"'
        c = 'chain = "c.pem"; key = "c.key"'
        for certs, want in (([f"{{ {o}; }}"], "vpn.example.org"),  # the default's own names, one that says what it is for first
                            ([f'{{ {o}; for = [ "www.example.org", "default" ]; }}'], "www.example.org"),  # what it is written for
                            ([f'{{ {o}; for = [ "www.example.org" ]; }}', f'{{ {c}; for = [ "default" ]; }}'], "vpn.example.com"),
                            (['{ chain = "i.pem"; key = "i.key"; }'], "192.0.2.8"), ):  # one label is no name to dial
            self.conf("x.conf", f"certificates: ( {', '.join(certs)} );\n")
            self.assertEqual(self.address("x.conf"), want)
        self.conf("x.conf", 'certificates: ( { chain = "w.pem"; key = "w.key"; } );\n')
        self.assertIn("--address HOST", self.profile("linux", config="x.conf", status=1)[1])
        self.assertEqual(self.address("x.conf", "--address", "a.example.org"), "a.example.org")
        self.conf("x.conf", f'certificates: ( {{ {o}; }} );\npassthrough: ( {{ name = "vpn.example.org"; upstream = "127.0.0.1:1"; }} );\n')
        self.assertEqual(self.address("x.conf"), "www.example.org")

    def test_port(self):
        cert = 'certificates: ( { chain = "c.pem"; key = "c.key"; } );\n'
        self.conf("x.conf", cert + 'listen: { address = [ "0.0.0.0:8443", "[::]:8443" ]; };\n')
        self.assertEqual(self.address("x.conf"), "vpn.example.com:8443")
        self.conf("x.conf", cert + 'listen: { address = [ "0.0.0.0:8443", "[::]:443" ]; };\n')
        self.assertEqual(self.address("x.conf"), "vpn.example.com")

    def test_given(self):
        self.run_it("cert", "new", "192.0.2.7", "2001:db8::7", "--out-cert", "o.pem", "--out-key", "o.key")
        self.conf("x.conf", 'certificates: ( { chain = "o.pem"; key = "o.key"; } );\n')
        for given, want in (("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "[2001:db8::7]"), ("[2001:db8::7]:444", "[2001:db8::7]:444"),
                            ("192.0.2.7:443", "192.0.2.7")):
            self.assertEqual(self.address("x.conf", "--address", given), want)
        self.assertIn("is not for other.example.com", self.profile("linux", "--address", "other.example.com", status=1)[1])
        for bad in ("", ":443", "a b", "vpn.example.com:0", "vpn.example.com:65536", "vpn.example.com:x", "[::1", "https://vpn.example.com",
                    "[vpn.example.com]", "a'b.example.com"):
            self.assertIn("--address", self.profile("linux", "--address", bad, status=1)[1])

    def test_a_pair_is_pinned_both(self):
        self.run_it("cert", "new", "vpn.example.com", "--key", "rsa", "--out-cert", "r.pem", "--out-key", "r.key")
        self.conf("x.conf", 'certificates: ( { chain = "c.pem"; key = "c.key"; }, { chain = "r.pem"; key = "r.key"; } );\n')
        text = self.profile("linux", config="x.conf")[0]
        for path in ("c.pem", "r.pem"):
            self.assertIn(hashlib.sha256(self.der(path)).hexdigest(), text)

    def test_a_front(self):
        self.conf("x.conf", 'listen: { address = [ ]; };\noffload: { listen = [ "127.0.0.1:8080" ]; from = [ "127.0.0.1" ]; '
                  'certificates = [ "c.pem" ]; };\n')
        self.assertEqual(self.address("x.conf"), "vpn.example.com")

    def test_routes(self):
        for bad in ("10.0.0.1/8", "10.0.0.0/33", "x", "", "10.0.0.0/"):
            self.assertIn("--route", self.profile("linux", "--route", bad, status=1)[1])

    def test_usage(self):
        for args in ([], ["windoze"], ["windows", "linux"], ["linux", "--xml"], ["linux", "--nonsense"]):
            self.run_it("profile", "-c", "g.conf", *args, status=2)
        self.write("n.conf", 'certificates: ( { chain = "c.pem"; key = "c.key"; } );\n')
        self.assertIn("no vpn section", self.profile("linux", config="n.conf", status=1)[1])
        self.run_it("profile", "linux", "-c", "nowhere.conf", status=2)
        with open("/dev/full", "w", encoding="utf-8") as full:
            p = subprocess.run([PROGRAM, "profile", "linux", "-c", self.path("g.conf")], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(p.returncode, 1)


if __name__ == "__main__":
    unittest.main()
