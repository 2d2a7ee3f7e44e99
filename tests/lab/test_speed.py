"""The data path with what really travels: TCP transfers checked by hash, datagrams of all sizes, fragments, echoes,
with and without offloads, over paths that are narrow, lose or change the order; rates of users; many calls.
"""

import contextlib
import os
import shutil
import socket
import time

import speedtools as st
from connecttools import status
from lablib import INSIDE4, SERVER4, check, gatehouse_path, need
from sstpclient import Client, udp
from test_net import sanitized

LAST = True  # when nothing runs beside it: see run.py

MIB = 1 << 20
ALL = {"plain": ("off", "off"), "offloads": ("auto", "auto"), "server only": ("auto", "off"),
       "client only": ("off", "auto")}
KINDS = {k: ALL[k] for k in ("plain", "offloads")}
MTU = 1400


def data(lab):
    return st.DataServer(lab.inside)


def check_flows(lab, c, n):
    with data(lab):
        st.down(c.ns, n, 1)
        st.up(c.ns, n, 2)
        st.flows(c.ns, n // 2)


def check_ipv6(lab, c):
    """IPv6 is link-local in the tunnel, so the other end is the server itself."""
    with st.DataServer(lab.server, "fe80::1%gh0"):
        host = f"fe80::1%{c.interface}"
        st.down(c.ns, 8 * MIB, 3, host)
        st.up(c.ns, 8 * MIB, 4, host)
        st.flows(c.ns, 2 * MIB, host=host)


def check_datagrams(ends, most):
    """most: bytes that fit into a packet."""
    for (a, _), (b, to), what in ((*ends, "up"), (*ends[::-1], "down")):
        all_sizes = [st.datagram(n) for n in range(most + 1)]
        for d in all_sizes:
            a.sendto(d, to)
        st.take(b, all_sizes, f"sizes, {what}")
        many = [st.datagram(n) for n in (4000, 65000, most + 1, 4001)]  # in fragments
        for d in many:
            a.sendto(d, to)
        st.take(b, many, f"fragments, {what}")
        for size, last in ((most, 1), (1000, 999), (1200, 1200), (64, 63), (1, 1)):
            n = min(60, 65000 // size)
            whole = st.BLOB[size:size + size * (n - 1) + last]
            a.setsockopt(st.SOL_UDP, st.UDP_SEGMENT, size)
            a.sendto(whole, to)
            pieces = [whole[i:i + size] for i in range(0, len(whole), size)]
            st.take(b, pieces, f"{n} of {size} bytes at once, {what}")
        a.setsockopt(st.SOL_UDP, st.UDP_SEGMENT, 0)


def check_echoes(c):
    for size in (0, 1, 7, 57, 511, 1371, 1372, 1373, 3001, 20001):
        c.ns.sh("ping", "-I", c.interface, "-c", 2, "-i", "0.02", "-W", 3, "-s", size, INSIDE4)


def check_kind(lab, kind):
    server, client = ALL[kind]
    with st.both(lab, server, client) as (gh, c):
        said = {"server": gh.cli("status")["offload"], "client": status(c)["call"]["offload"]}
        for who, wish in (("server", server), ("client", client)):
            check((said[who] == "off") == (wish == "off"), f"{kind}: the {who} says offload {said[who]!r}")
        check_flows(lab, c, 16 * MIB)
        check_ipv6(lab, c)
        with st.udp_pair(lab, c) as ends:
            check_datagrams(ends, MTU - 28)
        with st.udp_pair6(lab, c) as ends:
            check_datagrams(ends, MTU - 48)
        check_echoes(c)
        s = gh.session("alice")
        odd = {k: s[k] for k in ("drop_source", "drop_gate", "drop_mtu", "drop_odd", "drop_full") if s[k]}
        check(not odd, f"dropped: {odd}")
        check(s["queued"] == 0, f"{s['queued']} bytes wait for ever")
        call = status(c)["call"]
        check(not (call["drop_odd"] or call["drop_mtu"] or call["drop_full"]), f"the client dropped: {call}")
        text = c.ns.sh(gatehouse_path(), "status", "--connect", "-c", c.conf_path)
        check(said["client"] in text, f"status --connect without --json has no offload: {text}")
        text = gh.ns.sh(gatehouse_path(), "status", "-c", gh.conf_path)
        check(f"offloads {said['server']}, steering" in text, f"status says {text}")


def test_plain(lab):
    check_kind(lab, "plain")


def test_offloads(lab):
    check_kind(lab, "offloads")


def test_offloads_of_the_server(lab):
    check_kind(lab, "server only")


def test_offloads_of_the_client(lab):
    check_kind(lab, "client only")


def test_room_for_many_flows(lab):
    """Eight flows as fast as they go find room to wait: none loses more than CoDel says, to either side."""
    with st.both(lab) as (gh, c), data(lab) as server:
        st.at_once(*[lambda: st.rate_down(c.ns, 2) for _ in range(8)])
        s = gh.session("alice")
        taken = server.taken
        st.at_once(*[lambda k=k: st.up(c.ns, 48 * MIB, k) for k in range(8)])
        call = status(c)["call"]
        print(f"# down: {s['tx_packets']} packets, {s['drop_full']} found no room, {s['drop_late']} waited too long; up: "
              f"{(server.taken - taken) / MIB:.0f} MiB, {call['drop_full']} found no room")
        check(s["drop_full"] < s["tx_packets"] / 100, f"down: no room for packets: {s}")
        check(call["drop_full"] < call["tx_packets"] / 100, f"up: no room for packets: {call}")


# ---- paths -----------------------------------------------------------------------------------------------------------

def test_narrow(lab):
    """20 Mbit/s between, which nothing may exceed."""
    for server, client in KINDS.values():
        with st.Router(lab) as r, st.both(lab, server, client, ns=r.home) as (_, c), data(lab):
            r.rate("20mbit")
            began = time.monotonic()
            st.down(c.ns, 2 * MIB, 1)
            st.up(c.ns, 2 * MIB, 2)
            took = time.monotonic() - began
            check(1.3 < took < 5, f"4 MiB through 20 Mbit/s in {took:.1f} s")
            st.flows(c.ns, MIB // 2)


def test_losing_outside(lab):
    """The call's own TCP connection loses packets."""
    need("nft")
    for server, client in KINDS.values():
        with st.Router(lab) as r, st.both(lab, server, client, ns=r.home) as (_, c), data(lab):
            r.lose(1)
            st.down(c.ns, 8 * MIB, 1)
            st.up(c.ns, 8 * MIB, 2)
            st.flows(c.ns, 2 * MIB)
            check(sum(r.lost()) > 3, f"only {r.lost()} packets were lost")


def test_losing_inside(lab):
    """The flows within lose packets: what is sent again fills holes, between super-packets and within."""
    need("nft")
    for server, client in KINDS.values():
        with st.both(lab, server, client) as (_, c), st.losing_inside(lab, 1) as lost, data(lab):
            before = [st.netstat(ns, "RetransSegs") for ns in (lab.inside, c.ns)]
            st.down(c.ns, 8 * MIB, 1)
            st.up(c.ns, 16 * MIB, 2)
            st.flows(c.ns, 4 * MIB)
            again = [st.netstat(ns, "RetransSegs") - n for ns, n in zip((lab.inside, c.ns), before)]
            check(all(n > 0 for n in lost()) and all(n > 0 for n in again), f"lost {lost()}, sent again {again}")


def test_other_order_outside(lab):
    """The call's own TCP connection gets its packets in another order."""
    for server, client in KINDS.values():
        with st.Shuffled(lab, net="10.68.0") as far:
            far.ns.ip("route", "add", SERVER4, "via", far.door)
            with st.both(lab, server, client, ns=far.ns) as (_, c), data(lab):
                before = [st.netstat(ns, "TCPOFOQueue") for ns in (far.ns, lab.server)]
                st.down(c.ns, 6 * MIB, 1)
                st.up(c.ns, 6 * MIB, 2)
                st.flows(c.ns, 2 * MIB)
                late = [st.netstat(ns, "TCPOFOQueue") - n for ns, n in zip((far.ns, lab.server), before)]
                check(far.swapped > 20 and all(n > 0 for n in late), f"{far.swapped} swapped, {late} were late")


def test_other_order_inside(lab):
    for server, client in KINDS.values():
        with st.both(lab, server, client) as (_, c), st.Shuffled(lab) as far, st.DataServer(far.ns, far.host):
            before = st.netstat(c.ns, "TCPOFOQueue"), st.netstat(far.ns, "TCPOFOQueue")
            st.down(c.ns, 6 * MIB, 1, far.host)
            st.up(c.ns, 6 * MIB, 2, far.host)
            st.flows(c.ns, 2 * MIB, host=far.host)
            after = st.netstat(c.ns, "TCPOFOQueue"), st.netstat(far.ns, "TCPOFOQueue")
            check(far.swapped > 20 and all(a > b for a, b in zip(after, before)), f"{far.swapped} packets were late")


def test_ecn(lab):
    """Flows that can be told of congestion are told, and not one of their packets is dropped for it."""
    with st.Router(lab) as r, st.both(lab, ns=r.home) as (gh, c), data(lab), contextlib.ExitStack() as stack:
        for ns in (lab.inside, r.home):
            for key, value in (("net.ipv4.tcp_ecn", "1"), ("net.ipv4.tcp_congestion_control", "reno")):
                stack.callback(ns.sysctl, key, ns.sysctl(key))
                ns.sysctl(key, value)
        r.rate("20mbit")
        for what, move, ns, sender in (("down", st.down, r.home, lambda: gh.session("alice")),
                                       ("up", st.up, lab.inside, lambda: status(c)["call"])):
            before = st.netstat(ns, "InCEPkts")
            st.at_once(lambda: move(r.home, 5 * MIB, 1), lambda: move(r.home, 3 * MIB, 2))
            told, s = st.netstat(ns, "InCEPkts") - before, sender()
            check(s["marked"] > 0 and s["drop_late"] == 0 and s["drop_full"] == 0, f"{what}: marked {s['marked']}, "
                  f"dropped {s['drop_late']} late, {s['drop_full']} for want of room")
            check(0 < told <= s["marked"], f"{what}: {told} marks came, {s['marked']} were made")


# ---- rates of users --------------------------------------------------------------------------------------------------

def users_file(lab, **options):
    """The laboratory's users in a file of its own, with options behind some."""
    path = os.path.join(lab.fresh_dir("users"), "users")
    shutil.copyfile(lab.users, path)
    with open(path, encoding="utf-8") as f:
        lines = [line.rstrip() + "  " + options.get(line.split()[0], "") + "\n" for line in f]
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(lines)
    os.chmod(path, 0o600)
    return path


def near(what, bps, limit):
    check(0.9 * limit <= bps <= 1.02 * limit, f"{what}: {bps / 1e6:.1f} Mbit/s, the limit is {limit / 1e6:.1f}")


def test_rates(lab):
    """Limits of a user hold both ways, with little delay; a new one counts for the next call."""
    users = users_file(lab, alice="up=16M down=40M")
    conf = {"vpn": {"users": users}, "log": {"level": "info"}}
    with lab.gatehouse(**conf) as gh, data(lab) as d, st.call(lab) as c, contextlib.ExitStack() as stack:
        check(gh.session("alice")["down_bps"] == 40000000, f"{gh.session('alice')}")
        near("down", st.rate_down(c.ns, 2), 40e6)
        pings = st.Pings(c.ns)
        st.rate_down(c.ns, 2)
        trips = pings.trips()
        check(st.percentile(trips, 99) < 60, f"pings within the loaded call: {trips[-5:]} ms")
        pings = st.Pings(c.ns)
        near("up", st.rate_up(d, c.ns, 3, warm=1), 16e6)
        trips = pings.trips()
        print(f"# while sending at the limit: ping p50 {st.percentile(trips, 50):.1f}, worst {trips[-1]:.0f} ms")
        check(st.percentile(trips, 99) < 60, f"pings while sending: {trips[-5:]} ms")
        check(gh.session("alice")["up_bps"] == 16000000, f"{gh.session('alice')}")
        gh.ns.sh(gatehouse_path(), "user", "set", "alice", "--up", "none", "--down", "80M", "-c", gh.conf_path)
        near("down, still", st.rate_down(c.ns, 1), 40e6)
        datagrams = stack.enter_context(contextlib.closing(c.ns.sock(kind=socket.SOCK_DGRAM)))
        datagrams.setsockopt(st.SOL_UDP, st.UDP_SEGMENT, 1372)

        def flood():  # a client with a sanitizer reads its interface too slowly: it has some 300 Mbit/s
            datagrams.sendto(st.BLOB[:44 * 1372], (INSIDE4, 9))
            time.sleep(0.001 if sanitized() else 0)
        with st.Forked(flood):
            time.sleep(0.7)
            pings = st.Pings(c.ns)
            time.sleep(1.5)
            trips = pings.trips(lost=9)
            print(f"# while flooding upwards: ping p50 {st.percentile(trips, 50):.0f}, worst {trips[-1]:.0f} ms")
        check(st.percentile(trips, 50) < 120 and trips[-1] < 500, f"pings while flooding upwards: {trips[-9:]} ms")
        s = gh.session("alice")
        check(s["up_drop_late"] and s["up_drop_full"] and s["up_queued"] < 500000, f"no flood: {s}")
    with lab.gatehouse(**conf) as gh, data(lab) as d, st.call(lab) as c:
        near("down, anew", st.rate_down(c.ns, 1.5), 80e6)
        s = gh.session("alice")
        check(s["down_bps"] == 80000000 and not s["up_bps"], f"the limits are {s['up_bps']}, {s['down_bps']}")
        bps = st.rate_up(d, c.ns, 1)
        check(bps > 100e6, f"up without limit: {bps / 1e6:.0f} Mbit/s")


def test_slow_rate(lab):
    """A packet takes 22 ms there: transfers get the rate, and a ping beside them waits for one or two packets."""
    users = users_file(lab, alice="up=512k down=512k")
    with lab.gatehouse(vpn={"users": users}), data(lab) as d, st.call(lab) as c:
        for way in "up", "down":
            pings = st.Pings(c.ns)
            bps = st.rate_up(d, c.ns, 4, warm=2) if way == "up" else st.rate_down(c.ns, 4, warm=2)
            trips = pings.trips(lost=5)
            print(f"# {way} at 512 kbit/s: {bps / 1e3:.0f}, pings p50 {st.percentile(trips, 50):.0f}, "
                  f"worst {trips[-1]:.0f} ms")
            check(bps > 0.75 * 512e3, f"{way}: {bps / 1e3:.0f} kbit/s beside pings of 34")
            check(st.percentile(trips, 90) < 150, f"pings beside a slow transfer {way}: {trips[-9:]} ms")


def test_little_beside_much_at_a_rate(lab):
    """A small packet every 10 ms beside four downloads that share the user's rate, which is slow."""
    users = users_file(lab, alice="down=4M")
    with lab.gatehouse(vpn={"users": users}), data(lab), st.call(lab) as c:
        stop = time.monotonic() + 5
        pings = st.Pings(c.ns)
        st.at_once(*[lambda: st.rate_down(c.ns, stop - time.monotonic(), warm=0) for _ in range(4)])
        trips = pings.trips()
        print(f"# beside four downloads at 4 Mbit/s: {len(trips)} pings, p50 {st.percentile(trips, 50):.1f}, p90 "
              f"{st.percentile(trips, 90):.1f}, worst {trips[-1]:.1f} ms")
        check(st.percentile(trips, 90) < 40, f"pings beside four downloads: {trips[-9:]} ms")


def test_two_calls_share_a_rate(lab):
    """Two calls of one user have the rate together, in equal parts; one alone has all of it."""
    users = users_file(lab, alice="up=16M down=40M")
    with lab.gatehouse(vpn={"users": users}) as gh, data(lab) as d, st.Router(lab) as r, st.call(lab) as a, \
            st.call(lab, ns=r.home) as b:
        down = {}
        st.at_once(*[lambda c=c: down.update({c: st.rate_down(c.ns, 3, warm=1)}) for c in (a, b)])
        near("down, both", sum(down.values()), 40e6)
        check(min(down.values()) > 0.3 * sum(down.values()), f"one of two calls has little: {list(down.values())}")
        near("down, one", st.rate_down(b.ns, 2), 40e6)
        before, began = d.taken, time.monotonic()
        st.at_once(*[lambda c=c: st.up(c.ns, 3 * MIB) for c in (a, b)])
        near("up, both", (d.taken - before) * 8 / (time.monotonic() - began), 16e6)
        near("up, one", st.rate_up(d, a.ns, 2, warm=1), 16e6)
        check(all(s["down_bps"] == 40000000 for s in gh.sessions()), f"{gh.sessions()}")


# ---- many calls ------------------------------------------------------------------------------------------------------

MANY, EACH = 200, 10


def test_many_calls(lab):
    """Each has its packets, no other's, and all of them."""
    with contextlib.ExitStack() as stack:
        gh = stack.enter_context(lab.gatehouse(vpn={"network": ["10.77.0.0/22"], "auth": ["pap"]},
                                               log={"level": "info"}))
        calls = []
        for _ in range(MANY):
            c = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert))
            c.call("alice", "wonderland", "pap")
            calls.append(c)
        s = stack.enter_context(contextlib.closing(lab.inside.sock(kind=socket.SOCK_DGRAM)))
        s.setsockopt(socket.SOL_SOCKET, st.SO_RCVBUFFORCE, 16 << 20)
        s.bind((INSIDE4, 0))
        s.settimeout(3)
        port = s.getsockname()[1]
        for k in range(EACH):
            for n, c in enumerate(calls):
                s.sendto(b"%d %d " % (n, k) + st.datagram(100 + k), (c.address, 7000))
        for n, c in enumerate(calls):
            for k in range(EACH):
                frame = c.wait_packet(lambda f: f.protocol == 0x21 and f.data[9] == 17, 5)
                want = b"%d %d " % (n, k) + st.datagram(100 + k)
                check(frame and frame[28:] == want, f"call {n}: not its packet {k}")
        for k in range(EACH):
            for n, c in enumerate(calls):
                c.send_ip(udp(c.address, INSIDE4, 7000, port, b"%d %d" % (n, k)))
        got = {}
        for _ in range(MANY * EACH):
            text, (host, _) = s.recvfrom(100)
            got.setdefault(host, []).append(text)
        for n, c in enumerate(calls):
            want = [b"%d %d" % (n, k) for k in range(EACH)]
            check(got.get(c.address) == want, f"call {n}: up came {got.get(c.address)}")
        check(len(gh.sessions()) == MANY and gh.cli("status")["queued"] is not None, "the sessions")
