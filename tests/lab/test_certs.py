"""Which certificate is served, and that every call is bound to the one that its client saw: the ways in which listener
and VPN come to different certificates elsewhere, the order of the rules cell by cell, and resumed TLS sessions.
"""

import contextlib
import itertools
import json
import os
import re
import ssl

from lablib import POOL_SERVER, SERVER4, SERVER6, LabError, check, gatehouse_path, leaf_der, sha256, wait_for
from sstpclient import Client

OTHER4, OTHER6 = "192.0.2.3", "2001:db8:1::3"  # the server's second addresses
NAMES = ["vpn.example.com", "www.example.com", "six.example.com", "*.example.com"]


@contextlib.contextmanager
def other_addresses(lab):
    """The server has a second address of either family."""
    for a in (f"{OTHER4}/24", f"{OTHER6}/64"):
        lab.server.ip("addr", "add", a, "dev", "out0", *(["nodad"] if ":" in a else []))
    try:
        yield
    finally:
        for a in (f"{OTHER4}/24", f"{OTHER6}/64"):
            lab.server.ip("addr", "del", a, "dev", "out0")


def slow_pair(lab, name):
    """A certificate with the laboratory's RSA 4096 key: sstpc needs a handshake that takes its time (see Sstpc)."""
    return lab.ca.issue(name, NAMES, key=lab.vpn[1])


def entry(name, files, *rules):
    return {"name": name, "chain": files[0], "key": files[1], "for": list(rules)}


def reload(gh, certs, **sections):
    gh.write_conf({**gh.conf, "certificates": certs, **sections})
    gh.cli("reload")


def served(lab, host, sni, port=443, **kw):
    """The leaf that a handshake is shown, in DER; the name of the alert when there is none."""
    ctx = lab.tls(check_hostname=False, **kw)
    with contextlib.closing(lab.client.connect(host, port)) as s:
        try:
            with ctx.wrap_socket(s, server_hostname=sni) as t:
                return t.getpeercert(binary_form=True)
        except ssl.SSLError as e:
            return e.reason


def dials(lab, want, host=SERVER4, sni="vpn.example.com", **kw):
    """A whole call, bound to the leaf that the client saw, which is that of the files `want`."""
    with Client(lab.client, host, ca=lab.ca.cert, sni=sni, **kw) as c:
        check(c.cert == leaf_der(want[0]), f"{host} {sni}: shown {sha256(c.cert)}, not that of {want[0]}")
        c.call("alice", "wonderland")
        check(c.ping(POOL_SERVER), f"{host} {sni}: no ping")
        c.hang_up()


def stock_client_dials(lab, gh, want, host, sni=True, ca=True):
    """The same by sstpc and pppd; the server's own word for what it served."""
    since = gh.mark()
    with lab.uml().sstpc("alice", "wonderland", host, ca=lab.ca.cert if ca else None, sni=sni) as call:
        call.wait_up()
        up = gh.wait_event("call-up", since=since, user="alice")
        lab.uml().sh(f"ping -c1 -W3 {POOL_SERVER}")
        peer = up["peer"].rpartition(":")[0].strip("[]")
        name = host if sni else None
        check(served(lab, SERVER6 if ":" in peer else SERVER4, name) == leaf_der(want[0]),
              f"{host}: not the certificate of {want[0]}")
        call.hang_up()
        gh.wait_event("call-down", since=since, user="alice")
        call.wait_end()


# ---- the ways to a mismatch elsewhere ------------------------------------------------------------------------------

def test_vpn_added_later(lab):
    """
    A web certificate on 0.0.0.0:443 and nothing else; then the VPN comes, then a certificate of its own, all without a
    restart. Calls come up over both families from the moment that there is a VPN.
    """
    web, vpn = slow_pair(lab, "later-web"), lab.vpn
    with lab.gatehouse(certificates=[entry("web", web, "0.0.0.0:443")], vpn=None) as gh:
        for host in (SERVER4, SERVER6):
            with Client(lab.client, host, ca=lab.ca.cert) as c:
                check(c.cert == leaf_der(web[0]), f"{host}: not the web certificate")
                c.send(c.request())
                check(c.read_head().startswith(b"HTTP/1.1 400 "), "a call without a VPN is answered otherwise")
        reload(gh, gh.conf["certificates"], vpn=lab.conf()["vpn"])
        for host, name in ((SERVER4, "vpn.example.com"), (SERVER6, "six.example.com"), (SERVER4, None),
                           (SERVER6, None)):
            dials(lab, web, host, name)
        stock_client_dials(lab, gh, web, "vpn.example.com")
        stock_client_dials(lab, gh, web, "six.example.com")
        with Client(lab.client, SERVER4, ca=lab.ca.cert) as held:
            held.call("erin", "secret")
            reload(gh, [entry("web", web, "0.0.0.0:443"), entry("vpn", vpn, "vpn.example.com", "six.example.com")])
            for host in (SERVER4, SERVER6):
                dials(lab, vpn, host, "vpn.example.com")
                dials(lab, web, host, "www.example.com")
                dials(lab, web, host, None)
            stock_client_dials(lab, gh, vpn, "vpn.example.com")
            stock_client_dials(lab, gh, vpn, "six.example.com")
            check(held.ping(POOL_SERVER), "the call from before does not pass data any more")
            held.hang_up()
        check(not gh.events("binding-mismatch"), "a binding failed")


def test_web_on_one_address(lab):
    """The VPN's certificate on the wildcard addresses, the web's on one exact address: all addresses connect."""
    web, vpn = slow_pair(lab, "exact-web"), lab.vpn
    certs = [entry("vpn", vpn, "0.0.0.0:443", "[::]:443"),
             entry("web", web, f"{SERVER4}:443", f"[{SERVER6}]:443")]
    with other_addresses(lab), lab.gatehouse(certificates=certs) as gh:
        for name in ("vpn.example.com", None):
            for host, want in ((SERVER4, web), (SERVER6, web), (OTHER4, vpn), (OTHER6, vpn)):
                dials(lab, want, host, name)
        check(not gh.events("binding-mismatch"), "a binding failed")


def test_one_certificate(lab):
    """One certificate for web site and VPN."""
    both = slow_pair(lab, "both")
    with lab.gatehouse(certificates=[entry("both", both, "default")]) as gh:
        for host in (SERVER4, SERVER6):
            for name in ("vpn.example.com", "www.example.com", None):
                dials(lab, both, host, name)
            out = lab.client.sh("curl", "-sS", "--cacert", lab.ca.cert, "--resolve",
                                f"www.example.com:443:{f'[{host}]' if ':' in host else host}",
                                "https://www.example.com/", "-o", "/dev/null", "-w", "%{http_code}")
            check(out == "200", f"web site: {out}")
        gh.no_sessions()


def test_lands_on_the_web_certificate(lab):
    """A VPN client that is shown the web site's certificate, by name or by address, is bound to just that one."""
    web, vpn = slow_pair(lab, "landed-web"), lab.vpn
    certs = [entry("web", web, "www.example.com", f"[{SERVER6}]:443"),
             entry("vpn", vpn, "vpn.example.com", "default")]
    with lab.gatehouse(certificates=certs) as gh:
        dials(lab, web, SERVER4, "www.example.com")
        dials(lab, web, SERVER6, None)
        dials(lab, web, SERVER6, "vpn.example.com")
        stock_client_dials(lab, gh, web, "www.example.com")           # by SNI
        stock_client_dials(lab, gh, web, "six.example.com", sni=False)  # by address
        check(not gh.events("binding-mismatch"), "a binding failed")


def test_name_outranks_wildcard(lab):
    """A certificate by name wins over the wildcard addresses, one by exact address over the name."""
    web, vpn, exact = slow_pair(lab, "rank-web"), lab.vpn, slow_pair(lab, "rank-exact")
    certs = [entry("any", web, "0.0.0.0:443", "[::]:443"), entry("vpn", vpn, "vpn.example.com"),
             entry("exact", exact, f"{OTHER4}:443")]
    with other_addresses(lab), lab.gatehouse(certificates=certs):
        for host, name, want in ((SERVER4, "vpn.example.com", vpn), (SERVER6, "vpn.example.com", vpn),
                                 (OTHER6, "vpn.example.com", vpn), (OTHER4, "vpn.example.com", exact),
                                 (SERVER4, "www.example.com", web), (SERVER6, None, web), (OTHER4, None, exact)):
            dials(lab, want, host, name)


# ---- every cell ----------------------------------------------------------------------------------------------------

RULES = {"a4": f"{SERVER4}:443", "a6": f"[{SERVER6}]:443", "name": "vpn.example.com", "wild": "*.example.com",
         "any6": "[::]:443", "any": "0.0.0.0:443", "rest": "default"}
ASKED = {None: None, "exact": "vpn.example.com", "wildcard": "other.example.com", "unknown": "example.net"}


def expected(rules, host, asked):
    """The order in words: address, name, its wildcard, any IPv6, any, default; None: no rule."""
    wanted = ["a4"] if host == SERVER4 else ["a6"] if host == SERVER6 else []
    wanted += {"exact": ["name", "wild"], "wildcard": ["wild"]}.get(asked, [])
    wanted += (["any6"] if ":" in host else []) + ["any", "rest"]
    return next((r for r in wanted if r in rules), None)


def check_cell(lab, names, subset, host, asked, alert):
    want = expected(subset, host, asked) or ("TLSV1_UNRECOGNIZED_NAME" if alert else subset[0])
    got = []

    def right():  # a worker may serve one more connection with the rules of before
        der = served(lab, host, ASKED[asked])
        got[:] = [names.get(der, der)]
        return got == [want]
    with contextlib.suppress(LabError):
        wait_for(right, 1, "")
    check(got == [want], f"rules {subset}, {host}, SNI {ASKED[asked]}: {got} instead of {want}")


def explain_agrees(gh, subset, host, asked, alert):
    """`explain` says the same, and why every other rule lost."""
    want = expected(subset, host, asked)
    refused = alert and not want
    out = json.loads(gh.ns.sh(gatehouse_path(), "explain", "--json", "-c", gh.conf_path, host,
                              *([ASKED[asked]] if asked else []), ok=(1 if refused else 0,)))
    told = [c["name"] for c in out["certificates"]]
    case = f"rules {subset}, {host}, SNI {ASKED[asked]}: explain says {out}"
    check(out["refused"] == bool(refused) and out["rule"] == RULES.get(want), case)
    check(told == ([] if refused else [want or subset[0]]), case)
    check({x["certificate"] for x in out["lost"]} == set(subset) - {want} and all(x["why"] for x in out["lost"]), case)


def test_every_combination(lab):
    """
    Every set of rules, each address of the server, each kind of name: what is served is what the order says, and what
    `explain` says (asked for each eighth set, and each rule alone).
    """
    files = {r: lab.ca.issue(f"cell-{r}", NAMES) for r in RULES}
    names = {leaf_der(f[0]): r for r, f in files.items()}
    subsets = [s for n in range(1, len(RULES) + 1) for s in itertools.combinations(RULES, n)]
    cells = list(itertools.product((SERVER4, SERVER6, OTHER4, OTHER6), ASKED))
    with other_addresses(lab), lab.gatehouse(log={"level": "notice"}) as gh:
        for n, subset in enumerate(subsets):
            reload(gh, [entry(r, files[r], RULES[r]) for r in subset],
                   tls={"no-match": "alert" if n % 2 else "default"})
            for host, asked in cells:
                check_cell(lab, names, subset, host, asked, n % 2)
                if n < len(RULES) or n % 8 == 0 or n == len(subsets) - 1:
                    explain_agrees(gh, subset, host, asked, n % 2)
    print(f"# {len(subsets)} sets of rules, {len(subsets) * len(cells)} handshakes")


def s_client(lab, *argv, host=SERVER4, sni="vpn.example.com"):
    """openssl s_client's words, which end after the handshake."""
    return lab.client.sh("openssl", "s_client", "-connect", f"[{host}]:443" if ":" in host else f"{host}:443",
                         "-CAfile", lab.ca.cert, *(["-servername", sni] if sni else ["-noservername"]), *argv,
                         stdin=b"", ok=(0, 1))


def shown(text):
    """The leaf in s_client's words, in DER; None when there is none."""
    pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S)
    return ssl.PEM_cert_to_DER_cert(pem.group(0)) if pem else None


def test_key_types(lab):
    """RSA and ECDSA for one rule of each kind: the client's signature algorithms choose, the call is bound to that."""
    rsa, ec = lab.ca.issue("kind-rsa", NAMES, key="rsa:2048"), lab.ca.issue("kind-ec", NAMES)
    for rule in ("vpn.example.com", "*.example.com", f"{SERVER4}:443", "0.0.0.0:443", "default"):
        with lab.gatehouse(certificates=[entry("rsa", rsa, rule), entry("ec", ec, rule)]):
            for algorithms, want in (("RSA+SHA256:RSA-PSS+SHA256", rsa), ("ECDSA+SHA256", ec),
                                     ("RSA-PSS+SHA256:ECDSA+SHA256", None)):
                for version in ("-tls1_2", "-tls1_3"):
                    if version == "-tls1_3" and algorithms.startswith("RSA+"):
                        algorithms = "RSA-PSS+SHA256"
                    der = shown(s_client(lab, version, "-sigalgs", algorithms))
                    check(der == leaf_der(want[0]) if want else der, f"{rule} {version} {algorithms}: another, or none")
            for kind, want in (("RSA", rsa), ("ECDSA", ec)):
                ctx = lab.tls(maximum_version=ssl.TLSVersion.TLSv1_2)
                ctx.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
                dials(lab, want, context=ctx)


# ---- resumed TLS sessions ------------------------------------------------------------------------------------------

def call_again(lab, ctx, session, cert, expect_reuse, sni="vpn.example.com"):
    """A call on an offered session; `cert`: what the client saw then. Returns the session and leaf to go on with."""
    with Client(lab.client, SERVER4, context=ctx, sni=sni, session=session) as c:
        check(c.s.session_reused == expect_reuse, f"reused is {c.s.session_reused}, not {expect_reuse}")
        if c.s.session_reused:
            c.cert = cert
        c.call("alice", "wonderland")
        check(c.ping(POOL_SERVER), "no ping")
        session, cert = c.s.session, c.cert
        c.hang_up()
    return session, cert


def contexts(lab):
    """(what it is, a context, the type of key it is shown, whether sessions are resumed)"""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        yield version.name, lab.tls(minimum_version=version, maximum_version=version), "ec", True
    ctx = lab.tls(maximum_version=ssl.TLSVersion.TLSv1_2)
    ctx.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    yield "TLSv1_2 with RSA", ctx, "rsa", True
    ctx = lab.tls(maximum_version=ssl.TLSVersion.TLSv1_2)
    ctx.options |= ssl.OP_NO_TICKET
    yield "TLSv1_2 by session id", ctx, "ec", False  # the server keeps no sessions


def test_resumption_ends_with_the_certificate(lab):
    """
    A session goes on over a reload that leaves its certificate; once that is replaced, the ticket is worth nothing: a
    full handshake, and the call is bound to the new leaf. And back again.
    """
    pairs = {"rsa": [lab.ca.issue(f"resume-rsa{n}", NAMES, key="rsa:2048") for n in range(2)],
             "ec": [lab.ca.issue(f"resume-ec{n}", NAMES) for n in range(2)]}

    def certs(kind, mine, other, rule):
        return [entry(k, p[mine if k == kind else other], rule) for k, p in pairs.items()]
    with lab.gatehouse(certificates=certs("ec", 0, 0, "default")) as gh:
        for label, ctx, kind, tickets in contexts(lab):
            reload(gh, certs(kind, 0, 0, "default"))
            session, cert = call_again(lab, ctx, None, None, False)
            check(cert == leaf_der(pairs[kind][0][0]), f"{label}: not the certificate for it")
            session, cert = call_again(lab, ctx, session, cert, tickets)
            reload(gh, certs(kind, 0, 1, "*.example.com"))  # the other one replaced, another rule: still this leaf
            session, cert = call_again(lab, ctx, session, cert, tickets)
            old = session, cert
            reload(gh, certs(kind, 1, 1, "*.example.com"))
            session, cert = call_again(lab, ctx, session, cert, False)
            check(cert == leaf_der(pairs[kind][1][0]), f"{label}: not the new certificate")
            session, cert = call_again(lab, ctx, session, cert, tickets)
            reload(gh, certs(kind, 0, 0, "vpn.example.com"))
            call_again(lab, ctx, *old, tickets)
        check(not gh.events("binding-mismatch"), "a binding failed")


def test_resumption_under_another_name(lab):
    """A ticket that was got under one name is no way to the certificate of another."""
    files = {(n, k): lab.ca.issue(f"name-{n}-{k}", NAMES, key="rsa:2048" if k == "rsa" else "P-256")
             for n in ("www.example.com", "default") for k in ("rsa", "ec")}
    with lab.gatehouse(certificates=[entry(f"{n} {k}", f, n) for (n, k), f in files.items()]) as gh:
        for label, ctx, kind, _tickets in contexts(lab):
            session, cert = call_again(lab, ctx, None, None, False, sni="www.example.com")
            check(cert == leaf_der(files["www.example.com", kind][0]), label)
            _session, cert = call_again(lab, ctx, session, cert, False, sni="vpn.example.com")
            check(cert == leaf_der(files["default", kind][0]), label)
        check(not gh.events("binding-mismatch"), "a binding failed")


# ---- contradictions ------------------------------------------------------------------------------------------------

def start_is_refused(gh, pattern):
    """`serve` ends with status 2 and one line that says why."""
    gh.spawn()
    try:
        status = gh.proc.wait(10)
        e = gh.events("start-failed")
        check(status == 2 and len(e) == 1 and re.search(pattern, e[0]["text"]), f"status {status}: {gh.tail()}")
    finally:
        gh.proc.close()
        gh.proc = None
        gh.lab.servers.remove(gh)


def test_contradictions(lab):
    """What cannot be meant is refused by `check` with a stable code, and by the start where nothing can be served."""
    one, two = lab.ca.issue("contra-one", NAMES), lab.ca.issue("contra-two", NAMES)
    rsa = lab.ca.issue("contra-rsa", NAMES, key="rsa:2048")
    cases = [
        ("one rule, one key type", [entry("a", one, "default"), entry("b", two, "default")], "cert-same-key-type",
         r"same type of key"),
        ("one address, one key type", [entry("a", one, "0.0.0.0:443"), entry("b", two, "0.0.0.0:443")],
         "cert-same-key-type", r"same type of key"),
        ("one name in two cases", [entry("a", one, "VPN.example.com"), entry("b", two, "vpn.example.com")],
         "cert-same-key-type", r"same type of key"),
        ("three for one name", [entry("a", one, "default"), entry("b", two, "default"), entry("c", rsa, "default")],
         "config-duplicate", r"gatehouse\.conf:\d+"),
        ("one name twice", [entry("a", one, "default", "default")], "config-duplicate", r"gatehouse\.conf:\d+"),
        ("another's key", [entry("a", (one[0], two[1]), "default")], "key-mismatch", r"key"),
        ("no certificate", None, "config-no-certificate", r"there is no certificate"),
        ("half an address", [entry("a", one, "0.0.0.0:99999")], "config-bad-value", r"gatehouse\.conf:\d+"),
        ("one label for two certificates", [entry("a", one, "default"), entry("a", rsa, "vpn.example.com")],
         "config-duplicate", r"gatehouse\.conf:\d+"),
    ]
    for label, certs, code, words in cases:
        gh = lab.gatehouse(certificates=certs)
        gh.write_conf()
        status, found = gh.findings()
        check(status == 1 and code in found, f"{label}: check says {status}, {list(found)} and not {code}")
        check(found[code]["severity"] == "error" and found[code]["line"] > 0 and found[code]["remedy"],
              f"{label}: {found[code]}")
        start_is_refused(gh, words)
    named = [entry("a", one, "vpn.example.com")]
    strict = {"tls": {"no-match": "alert"}}
    for label, certs, more, code in (
            ("no certificate without a name", named, strict, "cert-none-without-name"),
            ("none for an address", [entry("a", one, f"{OTHER4}:443")], strict, "cert-none-for-address"),
            ("none for a name", named, {**strict, "web": [{"name": "blog.example.org"}]}, "cert-none-for-name"),
            ("a name that is not in it", [entry("a", one, "default", "blog.example.org")], {}, "cert-wrong-name"),
            ("an address without listener", [entry("a", one, "default", "192.0.2.77:8443")], {}, "cert-for-unused"),
            ("a name that is passed through", named,
             {"passthrough": [{"name": "vpn.example.com", "upstream": "127.0.0.1:9443"}]}, "passthrough-contradicts"),
            ("our own port as upstream", named, {"web": [{"upstream": "127.0.0.1:443"}]}, "upstream-loops"),
            ("a pool that is a local network", named, {"vpn": {"network": ["192.0.2.0/24"]}}, "vpn-network-overlaps")):
        gh = lab.gatehouse(certificates=certs, **more)
        gh.write_conf()
        status, found = gh.findings()
        check(code in found, f"{label}: check says {status}, {list(found)} and not {code}")
        check(status == (1 if found[code]["severity"] == "error" else status), f"{label}: {status} {found[code]}")
        check(found[code]["line"] > 0 and found[code]["remedy"], f"{label}: {found[code]}")
    with lab.gatehouse(certificates=[entry("a", one, "default")]) as gh:  # and by a reload, which changes nothing
        since = gh.mark()
        gh.write_conf({**gh.conf, "certificates": cases[0][1]})
        gh.cli("reload", ok=(1,))
        check("same type of key" in gh.wait_event("reload-failed", since=since)["text"], gh.tail())
        dials(lab, one)


def test_old_and_new_present(lab):
    """The old, expired certificate lies beside the new one: what is configured is served, nothing else is looked at."""
    names = ["vpn.example.com"]
    old = lab.ca.issue("beside-1-old", names, ago=60, days=30)
    new = lab.ca.issue("beside-2-new", names)
    newer = lab.ca.issue("beside-3-newer", names, days=29)
    folder = lab.fresh_dir("live")
    for i, pair in enumerate((old, new, newer)):
        for src, ext in zip(pair, ("pem", "key")):
            os.link(src, os.path.join(folder, f"{i}.{ext}"))
    files = os.path.join(folder, "1.pem"), os.path.join(folder, "1.key")
    with lab.gatehouse(certificates=[entry("vpn", files, "default")]) as gh:
        dials(lab, new)
        status = gh.cli("status")["certificates"]
        check([c["sha256"] for c in status] == [sha256(leaf_der(new[0]))], f"status: {status}")
        check(not gh.events("certificate-expired"), "an expired certificate that is not configured is told of")
        check(gh.findings()[1].keys().isdisjoint({"cert-expired"}), "check speaks of a file that is not configured")
    both = lab.gatehouse(certificates=[entry("old", old, "default"), entry("new", new, "default")])
    both.write_conf()
    status, found = both.findings()
    check(status == 1 and {"cert-same-key-type", "cert-expired"} <= found.keys(), f"check: {status} {list(found)}")
    check('"old" and "new"' in found["cert-same-key-type"]["text"], f"{found['cert-same-key-type']}")
    start_is_refused(both, r"old.*new.*same type of key")
