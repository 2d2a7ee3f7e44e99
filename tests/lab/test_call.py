"""Calls by the stock Linux client (sstpc and pppd in User Mode Linux), and by our own where a step must be bent."""

import contextlib
import hashlib
import os
import re
import signal
import ssl
import time

import sstpclient
from lablib import INSIDE4, INTERFACE, POOL, POOL_SERVER, SERVER4, SERVER6, check, wait_for
from sstpclient import ABORT, CONNECTED, DISCONNECT, Client, Closed, Protocol

SIZE = 20 << 20
LOUD = ("notice", "warn", "error")


@contextlib.contextmanager
def fixture(lab):
    with lab.gatehouse(vpn={"echo-interval": 2, "echo-timeout": 6}) as gh:
        yield gh


def loud(gh, since, conn):
    """Lines of one connection that an operator sees at the default level."""
    return [e for e in gh.log()[since:] if e.get("conn") == conn and e.get("level") in LOUD
            and e["event"] != "login-ok"]


def check_one_notice(gh, since, name, remedy=True, **match):
    """Exactly one line tells of it at notice level, and says what to do."""
    e = gh.wait_event(name, since=since, **match)
    lines = loud(gh, since, e.get("conn"))
    check(len(lines) == 1, f"{len(lines)} lines instead of one: {[x['text'] for x in lines]}")
    check(not remedy or e.get("remedy"), f"no remedy: {e['text']}")
    check(e.get("peer"), f"no peer: {e['text']}")
    return e


# ---- sstpc and pppd ------------------------------------------------------------------------------------------------

def ping(uml, *hosts):
    for h in hosts:
        uml.sh(f"ping -c2 -i0.2 -W3 {h}")


def test_dial(lab, gh):
    """The whole of it: certificate checked, binding, IPCP, forwarding, 20 MiB each way, counters, hanging up."""
    lab.inside_http.blobs["/blob"] = data = os.urandom(SIZE)
    digest = hashlib.sha256(data).hexdigest()
    path = os.path.join(lab.test_dir, "blob")
    with open(path, "wb") as f:
        f.write(data)
    uml, since = lab.uml(), gh.mark()
    with uml.sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert, routes=["198.51.100.0/24"]) as call:
        address = call.wait_up()
        up = gh.wait_event("call-up", since=since, user="alice")
        check(up.get("peer", "").startswith("192.0.2.") or up.get("peer", "").startswith("10.9."), up["text"])
        gh.wait_event("login-ok", since=since, user="alice")
        ping(uml, POOL_SERVER, INSIDE4)

        began = time.monotonic()
        got = uml.sh(f"curl -sS http://{INSIDE4}/blob | sha256sum", timeout=60).split()[0]
        check(got == digest, "what came down differs")
        down_s = time.monotonic() - began
        began = time.monotonic()
        got = uml.sh(f"curl -sS -T {path} http://{INSIDE4}/put", timeout=60).strip()
        check(got == digest, f"what went up differs: {got}")
        print(f"# 20 MiB through the guest: down {down_s:.1f} s, up {time.monotonic() - began:.1f} s")

        s = gh.session("alice")
        check(s["ip"] == address, f"session says {s['ip']}, the client has {address}")
        for k in ("rx_bytes", "tx_bytes"):
            check(s[k] > SIZE, f"{k} is {s[k]} after {SIZE}")
        for k in ("rx_packets", "tx_packets"):
            check(s[k] > 1000, f"{k} is {s[k]}")
        status = gh.cli("status")
        check(status["calls"] == 1, f"status: {status}")

        call.hang_up()
        down = gh.wait_event("call-down", since=since, user="alice")
        check(down.get("cause"), f"no cause: {down['text']}")
        gh.no_sessions()
        call.wait_end()
    lab.inside_http.blobs.clear()


def test_echo(lab, gh):
    """Three rounds of SSTP echo on an idle call, answered by the client."""
    with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert) as call:
        call.wait_up()
        wait_for(lambda: len(re.findall(r"TYPE\(8\)", call.log())) >= 3, 20,
                 lambda: f"three echo requests in {call.log()[-600:]}")
        gh.session("alice")
        check(call.alive(), "the client gave up")


def test_ipv6_outside(lab, gh):
    with lab.uml().sstpc("alice", "wonderland", "six.example.com", ca=lab.ca.cert,
                         routes=["198.51.100.0/24"]) as call:
        call.wait_up()
        ping(lab.uml(), POOL_SERVER, INSIDE4)
        check("[2001:db8:" in gh.session("alice")["peer"], "peer is not IPv6")


def test_certificate_by_name(lab, gh):
    """Two certificates (RSA, ECDSA): the binding is checked against the one that was served, SNI or none."""
    for host, sni, ca in (("www.example.com", True, True), ("vpn.example.com", True, True),
                          ("vpn.example.com", False, False)):
        since = gh.mark()
        with lab.uml().sstpc("alice", "wonderland", host, ca=lab.ca.cert if ca else None, sni=sni) as call:
            call.wait_up()
            gh.wait_event("call-up", since=since, user="alice")
            ping(lab.uml(), POOL_SERVER)


def refused_login(lab, gh, user, password, on_wire):
    since = gh.mark()
    with lab.uml().sstpc(user, password, "vpn.example.com", ca=lab.ca.cert) as call:
        call.wait_log(on_wire)
        call.wait_end()
    e = check_one_notice(gh, since, "login-failed")
    check(e.get("user") == user, e["text"])
    check(not gh.events("call-up", since), "the call came up")
    return e


def test_wrong_password(lab, gh):
    refused_login(lab, gh, "alice", "looking-glass", r"rcvd \[CHAP Failure [^\n]*E=691 ")


def test_unknown_user(lab, gh):
    refused_login(lab, gh, "mallory", "wonderland", r"rcvd \[CHAP Failure [^\n]*E=691 ")


def test_disabled_user(lab, gh):
    refused_login(lab, gh, "carol", "secret", r"rcvd \[CHAP Failure [^\n]*E=647 R=0")


def test_expired_user(lab, gh):
    """An account past its date, not a password past its own."""
    refused_login(lab, gh, "dave", "secret", r"rcvd \[CHAP Failure [^\n]*E=647 R=0")


def test_disconnect_by_operator(lab, gh):
    since = gh.mark()
    with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert) as call:
        call.wait_up()
        gh.cli("disconnect", "--user", "alice")
        call.wait_log(r"rcvd \[LCP TermReq id=\S+ \"")
        call.wait_end()
    down = gh.wait_event("call-down", since=since, user="alice")
    check(down.get("cause"), down["text"])
    gh.no_sessions()
    gh.cli("disconnect", "--user", "alice", ok=(1,))


def test_reload_keeps_the_call(lab, gh):
    """A good reload and a bad one: the call stays, new connections get the new certificate."""
    with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert) as call:
        call.wait_up()
        old = gh.conf
        try:
            fresh = lab.ca.issue("vpn2", ["vpn.example.com"], key="rsa:4096")
            certs = [old["certificates"][0], {**old["certificates"][1], "chain": fresh[0], "key": fresh[1]}]
            since = gh.mark()
            gh.write_conf({**old, "certificates": certs})
            gh.cli("reload")
            gh.wait_event("reload-done", since=since)
            with open(fresh[0], encoding="ascii") as f:
                want = ssl.PEM_cert_to_DER_cert(f.read().split("-----END")[0] + "-----END CERTIFICATE-----\n")
            with Client(lab.client, SERVER4, ca=lab.ca.cert, sni="vpn.example.com") as c:
                check(c.cert == want, "the old certificate is still served")
                c.call("erin", "secret")
                check(c.ping(POOL_SERVER), "no ping with the new certificate")
                c.hang_up()
            ping(lab.uml(), POOL_SERVER)

            since = gh.mark()
            gh.write_conf({**old, "vpn": {**old["vpn"], "mtu": 99}})
            gh.cli("reload", ok=(1,))
            e = gh.wait_event("reload-failed", since=since)
            check("gatehouse.conf:" in e["text"], f"no place in {e['text']}")
            ping(lab.uml(), POOL_SERVER)
        finally:
            gh.write_conf(old)
            gh.cli("reload", ok=None)
        ping(lab.uml(), POOL_SERVER)


def test_two_calls(lab, gh):
    """Two calls of two users have addresses of their own and reach each other through the server."""
    with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert, routes=[POOL]) as call, \
            Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        first, second = call.wait_up(), c.call("erin", "secret")
        check(second == "10.77.0.77", f"erin's own address is 10.77.0.77, not {second}")
        check(first != second, "one address twice")
        check(c.ping(first), "no ping from call to call")
        c.hang_up()


# ---- our own client ------------------------------------------------------------------------------------------------

def test_source_address_is_checked(lab, gh):
    """What carries another source than the call's does not come out inside."""
    sink = lab.inside.listen(INSIDE4, 9000, sstpclient.socket.SOCK_DGRAM)
    sink.settimeout(5)
    with contextlib.closing(sink), Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        mine = c.call("alice", "wonderland")
        for src in ("10.77.0.200", "192.0.2.1", INSIDE4, POOL_SERVER, "0.0.0.0", "127.0.0.1"):
            c.send_ip(sstpclient.udp(src, INSIDE4, 1, 9000, b"forged"))
        c.send_ip(sstpclient.udp(mine, INSIDE4, 1, 9000, b"honest"))
        data, peer = sink.recvfrom(100)
        check(data == b"honest" and peer[0] == mine, f"{data!r} from {peer} came out")
        c.hang_up()
    gh.no_sessions()


def binding_fails(lab, gh, attrib, status, send):
    since = gh.mark()
    with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        c.http()
        c.connect_request()
        check(c.login("alice", "wonderland", "mschapv2"), "login")
        send(c)
        said, closed = c.fate(8)
        check(closed, "the connection stayed open")
        aborts = [m for m in said if m.kind == ABORT]
        check(len(aborts) == 1 and c.status(aborts[0]) == [(attrib, status)], f"the server said {said}")
    check(not gh.events("call-up", since), "the call came up")
    return gh


def test_binding_refused(lab, gh):
    """MS-SSTP 3.3.5.2.3: each check of crypto binding fails by itself; the log says which."""
    with open(lab.vpn[0], encoding="ascii") as f:
        other = ssl.PEM_cert_to_DER_cert(f.read().split("-----END")[0] + "-----END CERTIFICATE-----\n")

    def bent(**kw):
        return lambda c: c.send(sstpclient.call_connected(
            **{"nonce": c.nonce, "cert_der": c.cert, "hlak": c.hlak, **kw}))
    since = gh.mark()
    binding_fails(lab, gh, 3, 4, bent(cert_der=other))
    e = check_one_notice(gh, since, "binding-mismatch")
    check("another certificate" in e["text"], f"does not name the certificate: {e['text']}")
    for kw in ({"hlak": b"\0" * 32}, {"nonce": b"\0" * 32}, {"hash_bits": 3}, {"hash_bits": 4}):
        binding_fails(lab, gh, 3, 4, bent(**kw))
    binding_fails(lab, gh, 2, 9, lambda c: c.send(sstpclient.message(CONNECTED)))


def test_client_vanishes(lab, gh):
    """A reset connection and a silent one both end the call."""
    c = Client(lab.client, SERVER4, ca=lab.ca.cert)
    since = gh.mark()
    c.call("alice", "wonderland")
    c.s.setsockopt(sstpclient.socket.SOL_SOCKET, sstpclient.socket.SO_LINGER, sstpclient.struct.pack("ii", 1, 0))
    c.close()
    gh.wait_event("call-down", since=since, user="alice")
    gh.no_sessions()
    since = gh.mark()
    with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        c.call("alice", "wonderland")
        c.answer_echo = False  # echo-interval + echo-timeout: 8 s
        with contextlib.suppress(Closed):
            c.pump(lambda: c.ended, 15)
        gh.wait_event("call-down", since=since, user="alice", timeout=3)
    gh.no_sessions()


def test_methods(lab):
    """Every authentication method with either hash; PAP and CHAP-MD5 carry zero keys."""
    with lab.gatehouse(vpn={"auth": ["mschapv2", "chap", "pap"]}) as gh:
        for user, password, method in (("alice", "wonderland", "mschapv2"), ("bob", "correct horse", "chap"),
                                       ("alice", "wonderland", "pap"), ("bob", "correct horse", "mschapv2"),
                                       ("EXAMPLE\\alice", "wonderland", "mschapv2")):
            for algorithm in ("sha256", "sha1"):
                with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
                    c.call(user, password, method, algorithm)
                    check(c.hash_mask == 3, f"hash bitmask {c.hash_mask}")
                    check(c.ping(POOL_SERVER), f"{method} {algorithm}: no ping")
                    c.hang_up()
        for user, password, method in (("alice", "no", "pap"), ("bob", "no", "chap"), ("alice", "wonderland", "chap")):
            with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
                c.http()
                c.connect_request()
                check(not c.login(user, password, method), f"{method}: {user} with {password!r} was let in")
        gh.no_sessions()


def test_resumed_tls_session(lab, gh):
    """A resumed TLS session shows no certificate: the binding holds for the one that the full handshake showed."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        for sni in ("www.example.com", "vpn.example.com"):
            ctx = lab.tls(minimum_version=version, maximum_version=version)
            first = Client(lab.client, SERVER4, context=ctx, sni=sni)
            first.call("alice", "wonderland")
            check(first.ping(POOL_SERVER), "no ping in the first call")
            session, cert = first.s.session, first.cert
            first.hang_up()
            with Client(lab.client, SERVER4, context=ctx, sni=sni, session=session) as c:
                check(c.s.session_reused, f"{version.name} {sni}: not resumed")
                c.cert = cert
                c.call("alice", "wonderland")
                check(c.ping(POOL_SERVER), f"{version.name} {sni}: no ping in the resumed call")
                c.hang_up()
    gh.no_sessions()


def test_vpn_added_later(lab):
    """A web certificate on 0.0.0.0:443 alone; the VPN, with a certificate of its own, comes by reload: no restart."""
    www = {"name": "www", "chain": lab.www[0], "key": lab.www[1], "for": ["0.0.0.0:443"]}
    vpn = {"name": "vpn", "chain": lab.vpn[0], "key": lab.vpn[1], "for": ["vpn.example.com"]}
    with lab.gatehouse(certificates=[www], vpn=None) as gh:
        for host in (SERVER4, SERVER6):
            with Client(lab.client, host, ca=lab.ca.cert) as c:
                c.send(c.request())
                head = c.read_head()
                check(head.startswith(b"HTTP/1.1 400 "), f"without a VPN: {head!r}")
        before, bad = gh.conf, lab.conf(certificates=[www])
        gh.write_conf({**bad, "vpn": {**bad["vpn"], "network": ["192.0.2.0/24"]}})
        since = gh.mark()
        gh.cli("reload", ok=(1,))
        gh.wait_event("reload-failed", since=since)
        check(INTERFACE not in gh.leavings()["links"], "a refused VPN left its interface")
        for certificates in ([www], [www, vpn]):
            gh.write_conf(lab.conf(certificates=certificates))
            since = gh.mark()
            gh.cli("reload")
            done = gh.wait_event("reload-done", since=since)
            check("restart_needed_for" not in done, f"restart asked for: {done}")
            for host in (SERVER4, SERVER6):
                for sni in (None, "vpn.example.com"):
                    with Client(lab.client, host, ca=lab.ca.cert, sni=sni) as c:
                        c.call("alice", "wonderland")
                        check(c.ping(INSIDE4), f"{host} {sni}: no ping")
                        c.hang_up()
            with lab.uml().sstpc("bob", "correct horse", "vpn.example.com",
                                 ca=lab.ca.cert if vpn in certificates else None, routes=["198.51.100.0/24"]) as call:
                call.wait_up()
                ping(lab.uml(), INSIDE4)
        gh.write_conf(before)
        gh.cli("reload", ok=(1,))
        check("restart" in gh.cli("status")["last_reload_error"], "taking the VPN away was not refused")
        gh.write_conf(lab.conf(certificates=[www, vpn]))
        gh.cli("reload")


def test_two_key_types(lab):
    """RSA and ECDSA for one name: each client is bound to the one that it was shown, resumed or not."""
    ec = lab.ca.issue("www-ec", ["www.example.com"])
    rsa = lab.ca.issue("www-rsa", ["www.example.com"], key="rsa:2048")
    rsa = {"name": "rsa", "chain": rsa[0], "key": rsa[1], "for": ["default"]}
    shown = set()
    with lab.gatehouse(certificates=[rsa, {"name": "ec", "chain": ec[0], "key": ec[1], "for": ["default"]}]):
        for kind in ("ECDSA", "RSA"):
            ctx = lab.tls(minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=ssl.TLSVersion.TLSv1_2)
            ctx.set_ciphers(f"ECDHE-{kind}-AES128-GCM-SHA256")
            session = cert = None
            for resumed in (False, True):
                with Client(lab.client, SERVER4, context=ctx, session=session) as c:
                    check(c.s.session_reused == resumed, f"{kind}: reused is {c.s.session_reused}")
                    cert = c.cert if not resumed else cert
                    c.cert = cert
                    shown.add(cert)
                    c.call("alice", "wonderland")
                    check(c.ping(POOL_SERVER), f"{kind}, resumed {resumed}: no ping")
                    session = c.s.session
                    c.hang_up()
    check(len(shown) == 2, "only one of the certificates was ever shown")


def test_pool_exhausted(lab):
    """A /30 has room for one call; the second is told so and the operator too."""
    users = os.path.join(lab.test_dir, "users")
    with open(users, "w", encoding="ascii") as f:
        f.write('alice plain:"wonderland"\nbob plain:"correct horse"\n')
    with lab.gatehouse(vpn={"network": ["10.77.9.0/30"], "dns": ["10.77.9.1"], "users": users}) as gh, \
            Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        check(c.call("bob", "correct horse") == "10.77.9.2", f"address {c.address}")
        since = gh.mark()
        with lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert) as call:
            call.wait_log(r"rcvd \[LCP TermReq id=\S+ \"[^\"]*address[^\"]*\"")
            call.wait_end()
        e = check_one_notice(gh, since, "refused", user="alice")
        check("network" in e["text"] or "pool" in e["text"], e["text"])
        check(c.ping("10.77.9.1"), "the first call suffered")
        c.hang_up()
        gh.no_sessions()
        with Client(lab.client, SERVER4, ca=lab.ca.cert) as again:
            check(again.call("alice", "wonderland") == "10.77.9.2", "the address did not come back")
            again.hang_up()


def test_sigterm(lab):
    """SIGTERM hangs up in order: LCP Terminate, CALL_DISCONNECT, status 0 within the 5 s of draining, nothing left."""
    with lab.gatehouse() as gh, Client(lab.client, SERVER4, ca=lab.ca.cert) as c, \
            lab.uml().sstpc("alice", "wonderland", "vpn.example.com", ca=lab.ca.cert) as call:
        call.wait_up()
        c.call("erin", "secret")
        began = time.monotonic()
        gh.proc.signal(signal.SIGTERM)
        c.pump(lambda: c.ended, 5)
        check(c.ended.kind == DISCONNECT, f"the server said {c.ended}")
        check(c.status(c.ended) == [(0, 0)], f"CALL_DISCONNECT carries {c.ended.attributes}")
        check(c.terminate_text is not None, "no LCP Terminate-Request")
        status = gh.proc.wait(8)
        check(status == 0, f"status {status}: {gh.tail()}")
        check(time.monotonic() - began < 6, "draining took longer than 5 s")
        call.wait_log(r"rcvd \[LCP TermReq")
        call.wait_log(r"TYPE\(6\)")
        call.wait_end()
        check(gh.events("stopped"), f"no event: {gh.tail()}")
        gh.proc.close()
        gh.proc = None
        gh.check_nothing_left()


def test_drain(lab):
    """Draining: new calls get 503, the web and the present call go on."""
    with lab.gatehouse() as gh, Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        c.call("alice", "wonderland")
        gh.cli("drain")
        gh.wait_event("drain")
        with Client(lab.client, SERVER4, ca=lab.ca.cert) as new:
            new.send(new.request())
            head = new.read_head()
            check(head.startswith(b"HTTP/1.1 503"), f"a new call got {head!r}")
        check(c.ping(POOL_SERVER), "the present call ended")
        c.hang_up()


def test_no_vpn_section(lab):
    """Without a vpn section the SSTP URI gets 400, never the web server."""
    with lab.gatehouse(vpn=None), Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        try:
            c.http()
        except Protocol as e:
            check("HTTP/1.1 400" in str(e), str(e))
        else:
            check(False, "the call was accepted")
