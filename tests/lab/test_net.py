"""The host's network and the clients' packets: NAT, forwarding, rights, IPv6, records, the end, limits."""

import contextlib
import os
import re
import signal
import socket
import struct
import threading
import time

import sstpclient
from lablib import CLIENT6, INSIDE4, POOL_SERVER, SERVER4, SERVER6, SERVER_IN4, LabError, check, gatehouse_path
from lablib import need, wait_for
from sstpclient import ABORT, CC_ACK, DISCONNECT, IP, IPV6, Client, Closed, link_local, tcp, tcp_parse
import webservers as ws

MTU = 1400
SYN, FIN, PSH, ACK = 2, 1, 8, 16
ETH_P_IP = 0x0800
FE80_1 = link_local(b"\0" * 7 + b"\1")
IID = bytes.fromhex("02005e10aabb0001")


@contextlib.contextmanager
def fixture(lab):
    with lab.gatehouse() as gh:
        yield gh


def dial(lab, user="alice", password="wonderland", **kw):
    c = Client(lab.client, SERVER4, ca=lab.ca.cert, **kw)
    c.call(user, password)
    return c


def sanitized():
    with open(gatehouse_path(), "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


# ---- NAT, forwarding -----------------------------------------------------------------------------------------------


def nat_vpn(lab, **more):
    """A vpn section with a pool that the inside has no route to."""
    users = os.path.join(lab.test_dir, "users")
    with open(users, "w", encoding="ascii") as f:
        f.write('alice plain:"wonderland"\n')
    return {"network": ["10.99.0.0/24"], "dns": ["10.99.0.1"], "users": users, **more}


FOREIGN = """table ip foreign {
    chain forward {
        type filter hook forward priority filter; policy accept;
        ip daddr 203.0.113.99 drop
    }
}
"""


class Tcp:
    """The client's end of a TCP connection through a call, just enough of it: no retransmission, no window."""

    def __init__(self, call, dst, port, sport, mss=1460):
        self.call, self.dst, self.port, self.sport, self.seq = call, dst, port, sport, 1000
        self._send(SYN, mss=mss)
        self.syn_ack = self._wait(lambda s: s.flags & (SYN | ACK) == SYN | ACK)
        self.seq, self.ack = self.seq + 1, self.syn_ack.seq + 1
        self._send(ACK)

    def _send(self, flags, payload=b"", **kw):
        self.call.send_ip(tcp(self.call.address, self.dst, self.sport, self.port, self.seq, getattr(self, "ack", 0),
                              flags, payload, **kw))

    def _wait(self, wanted):
        def mine(f):
            s = tcp_parse(f.data) if f.protocol == IP else None
            return s and (s.src, s.sport, s.dport) == (self.dst, self.port, self.sport) and wanted(s)
        data = self.call.wait_packet(mine)
        check(data, f"no TCP answer from {self.dst}:{self.port}")
        return tcp_parse(data)

    def send(self, data):
        self._send(ACK | PSH, data)
        self.seq += len(data)

    def recv(self):
        s = self._wait(lambda s: s.payload and s.seq == self.ack)
        self.ack += len(s.payload)
        self._send(ACK)
        return s.payload


def sniff_syn(lab):
    """A socket that sees every IPv4 packet that comes to the inside host."""
    s = lab.inside.sock(socket.AF_PACKET, socket.SOCK_DGRAM)
    s.bind(("in0", ETH_P_IP))
    s.settimeout(5)
    return s


def seen_syn(s, port):
    """The first SYN to that port."""
    while True:
        data, where = s.recvfrom(65536)
        seg = tcp_parse(data) if where[2] != socket.PACKET_OUTGOING else None
        if seg and seg.dport == port and seg.flags & SYN:
            return seg


def test_nat(lab):
    """
    A pool that the inside has no route to: ping and TCP work, and come from the server. SYNs in each direction have
    their MSS cut to what fits the tunnel. Whatever else is in nftables stays as it is.
    """
    need("nft")
    lab.server.sh("nft", "-f", "-", stdin=FOREIGN.encode())
    foreign = lab.server.sh("nft", "list", "table", "ip", "foreign")
    try:
        with lab.gatehouse(vpn=nat_vpn(lab, nat="auto", mtu=MTU)), dial(lab) as c:
            check("table inet gatehouse" in lab.server.sh("nft", "list", "tables"), "no table of ours")
            check(c.ping(INSIDE4), "no ping through NAT")
            with contextlib.closing(lab.inside.listen(INSIDE4, 9100)) as listener, \
                    contextlib.closing(sniff_syn(lab)) as wire:
                listener.settimeout(5)
                t = Tcp(c, INSIDE4, 9100, 40001)
                s, peer = listener.accept()
                with contextlib.closing(s):
                    s.settimeout(5)
                    check(peer[0] == SERVER_IN4, f"inside sees {peer[0]}")
                    t.send(b"to the inside")
                    check(s.recv(100) == b"to the inside", "data to the inside")
                    s.sendall(b"to the client")
                    check(t.recv() == b"to the client", "data to the client")
                    maxseg = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                    check(maxseg <= MTU - 40, f"inside would send segments of {maxseg}")
                mss = seen_syn(wire, 9100).mss
                check(mss and mss <= MTU - 40, f"the SYN came out inside with MSS {mss}")
                check(t.syn_ack.mss <= MTU - 40, f"the client was told MSS {t.syn_ack.mss}")
            check(lab.server.sh("nft", "list", "table", "ip", "foreign") == foreign, "the foreign table changed")
            c.hang_up()
        tables = lab.server.sh("nft", "list", "tables")
        check("gatehouse" not in tables, f"our table stayed: {tables}")
        check(lab.server.sh("nft", "list", "table", "ip", "foreign") == foreign, "the foreign table changed at the end")
    finally:
        lab.server.sh("nft", "delete", "table", "ip", "foreign", ok=None)


def test_no_nat(lab):
    """The same ping without NAT: it comes out inside from the call's own address, and finds no way back."""
    with lab.gatehouse(vpn=nat_vpn(lab, nat="off")), dial(lab) as c, contextlib.closing(sniff_syn(lab)) as wire:
        check(not c.ping(INSIDE4, timeout=2), "the ping was answered: that is NAT")
        check(c.ping("10.99.0.1"), "the server itself does not answer")
        src = next(p[12:16] for p in iter(lambda: wire.recv(65536), b"") if p[9] == 1 and p[20] == 8)
        check(socket.inet_ntoa(src) == c.address, f"inside saw {socket.inet_ntoa(src)}")
        c.hang_up()


def test_mss_without_nat(lab, gh):
    """The clamp does not need NAT, and holds for connections that the inside begins."""
    check(gh.conf["vpn"].get("nat", "off") == "off", "this server has NAT")
    with dial(lab) as c:
        s = lab.inside.sock()
        with contextlib.closing(s):
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect((c.address, 9101))
            data = c.wait_packet(lambda f: f.protocol == IP and getattr(tcp_parse(f.data), "dport", 0) == 9101)
            check(data, "no SYN from the inside")
            check(tcp_parse(data).mss <= MTU - 40, f"the client was told MSS {tcp_parse(data).mss}")
        with contextlib.closing(lab.inside.listen(INSIDE4, 9102)) as listener:
            listener.settimeout(5)
            Tcp(c, INSIDE4, 9102, 40002)
            s, peer = listener.accept()
            with contextlib.closing(s):
                check(peer[0] == c.address, f"inside sees {peer[0]}")
                maxseg = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                check(maxseg <= MTU - 40, f"inside would send segments of {maxseg}")
        c.hang_up()


def test_forwarding(lab):
    """The system's switch is touched only where the configuration says so, and put back."""
    key, key6 = "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"
    old = lab.server.sysctl(key)
    try:
        for was, forward, nat, running in (("0", None, "off", "0"), ("0", False, "auto", "0"), ("0", True, "off", "1"),
                                           ("1", True, "off", "1"), ("1", None, "off", "1")):
            lab.server.sysctl(key, was)
            six = lab.server.sysctl(key6)
            case = f"was {was}, forward = {forward}, nat = {nat}"
            with lab.gatehouse(vpn={"forward": forward, "nat": nat}):
                got = lab.server.sysctl(key)
                check(got == running, f"{case}: {key} is {got} while running")
                check(lab.server.sysctl(key6) == six, f"{case}: {key6} changed")
            got = lab.server.sysctl(key)
            check(got == was, f"{case}: {key} is {got} afterwards")
    finally:
        lab.server.sysctl(key, old)


# ---- rights --------------------------------------------------------------------------------------------------------

def proc_read(pid, name, binary=False):
    """A file in /proc; None when the process is gone."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as f:
            data = f.read()
            return data if binary else data.decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None


def children(pid):
    return [int(x) for x in (proc_read(pid, f"task/{pid}/children") or "").split()]


def status_of(pid, task):
    text = proc_read(pid, f"task/{task}/status")
    return None if text is None else dict(x.split(":", 1) for x in text.splitlines())


def check_rights(pid, who):
    """Of every thread: nobody, nothing, and no way back."""
    tasks = os.listdir(f"/proc/{pid}/task")
    for task in tasks:
        st = status_of(pid, task)
        if st is None:
            continue
        where = f"{who}, thread {st['Name'].strip()}"
        for k in ("Uid", "Gid"):
            ids = st[k].split()
            check(len(ids) == 4 and "0" not in ids, f"{where}: {k} {ids}")
        check(not st["Groups"].split(), f"{where}: groups {st['Groups']}")
        for k in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh"):
            check(int(st[k], 16) == 0, f"{where}: {k} {st[k]}")
        check(st["NoNewPrivs"].strip() == "1", f"{where}: NoNewPrivs {st['NoNewPrivs']}")
        if not sanitized():  # a sanitizer needs what the filter forbids
            check(st["Seccomp"].strip() == "2", f"{where}: Seccomp {st['Seccomp']}")
    return len(tasks)


def descriptors(pid):
    out = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            out[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return out


def check_descriptors(pid, who, log_path, more=()):
    """Only what needs no name in the file system, the tunnel and the log."""
    good = re.compile(r"socket:\[\d+\]|pipe:\[\d+\]|anon_inode:\[(eventfd|eventpoll|timerfd)\]|/memfd:.*|/dev/null|"
                      r"/dev/net/tun")
    for fd, what in descriptors(pid).items():
        log = fd == 2 and os.path.realpath(log_path) == what
        check(good.fullmatch(what) or log or what in more, f"{who} has {what} open as {fd}")


def watch_start(gh):
    """Starts the server and looks at its processes all the time: none with a role's name is ever root."""
    seen, problems = set(), []
    monitor = gh.spawn().pid
    deadline = time.monotonic() + 15
    while not (seen and gh.events("ready")) and time.monotonic() < deadline:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            for pid in children(monitor):
                name = proc_read(pid, "cmdline", True)  # first: between the two it can only get less
                st = status_of(pid, pid)
                if not name or not name.startswith(b"gatehouse: ") or not st:
                    continue
                seen.add(name.rstrip(b"\0").decode())
                if "0" in st["Uid"].split() + st["Gid"].split():
                    problems.append(f"{name} with Uid {st['Uid']}, Gid {st['Gid']}")
    check(not problems, "; ".join(problems[:3]))
    return seen


def test_rights(lab):
    """Engine and site have no rights, no files, and never had more under their names; also with a call and a relay."""
    root = lab.fresh_dir("root")
    with open(os.path.join(root, "index.html"), "w", encoding="ascii") as f:
        f.write("page\n")
    gh = lab.gatehouse(web=[{"root": root}, {"name": "welcome.example.com"}])
    gh.prefix = ["setpriv", "--groups", "4,24"]  # there is something to lose
    with contextlib.ExitStack() as stack:
        stack.callback(gh.close)
        seen = watch_start(gh)
        check({x.split(" ")[1] for x in seen} >= {"engine"} and len(seen) >= 2, f"saw only {seen}")
        c = stack.enter_context(dial(lab))
        web = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert))
        web.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        check(b" 200 " in web.read_head(), "no page")
        engines = gh.engine_pids()
        check(len(engines) == 1, f"engines: {engines}")
        threads = check_rights(engines[0], "engine")
        check(threads >= 2, f"the engine has {threads} threads, two workers were asked for")
        check_descriptors(engines[0], "engine", gh.log_path)
        check("/dev/net/tun" in descriptors(engines[0]).values(), "no tunnel: is this the engine?")
        sites = [p for p in children(gh.monitor_pid()) if p not in engines]
        check(len(sites) == 2, f"{len(sites)} sites")
        for pid in sites:
            check_rights(pid, "site")
            check_descriptors(pid, "site", gh.log_path, [os.path.realpath(root)])
        c.hang_up()
        web.close()
        gh.stop()


# ---- IPv6 in the tunnel --------------------------------------------------------------------------------------------

def test_ipv6_link_local(lab, gh):
    """The server's own end answers; what comes with another source is dropped, counted, and does not come out."""
    with dial(lab, iid=IID) as c:
        check(c.open_ipv6cp() == IID, f"the server wants another identifier: {c.iid.hex()}")
        check(c.server_iid == FE80_1[8:], f"the server's identifier is {c.server_iid.hex()}")
        check(c.ping6(FE80_1), "fe80::1 does not answer")
        before = gh.session("alice")["drop_source"]
        with lab.server.entered():
            index = socket.if_nametoindex("gh0")
        sink = lab.server.sock(socket.AF_INET6, socket.SOCK_DGRAM)
        with contextlib.closing(sink):
            sink.settimeout(5)
            sink.bind(("fe80::1", 9200, 0, index))
            forged = [link_local(b"\x02\0\0\xff\xfe\0\0\x99"), FE80_1, socket.inet_pton(socket.AF_INET6, "2001:db8::7"),
                      b"\xfe\x80\1" + b"\0" * 5 + IID, b"\0" * 16, b"\0" * 15 + b"\1"]
            for src in forged:
                c.send_ppp(IPV6, sstpclient.udp6(src, FE80_1, 1, 9200, b"forged"))
            c.send_ppp(IPV6, sstpclient.udp6(link_local(IID), FE80_1, 1, 9200, b"honest"))
            data, _ = sink.recvfrom(100)
            check(data == b"honest", f"{data!r} came out")
        dropped = gh.session("alice")["drop_source"] - before
        check(dropped == len(forged), f"{dropped} of {len(forged)} were counted")
        check(c.ping(POOL_SERVER), "IPv4 suffered")
        since = gh.mark()
        c.hang_up()
        down = gh.wait_event("call-down", since=since, user="alice")
        check(down.get("drop_source") == str(len(forged)), down["text"])


def test_ipv6_identifier_given(lab, gh):
    """RFC 5072 4.1: a client without an identifier is given one, and one that takes the server's is told another."""
    for asked in (b"\0" * 8, FE80_1[8:]):
        with dial(lab, iid=asked) as c:
            got = c.open_ipv6cp()
            check(got not in (b"\0" * 8, FE80_1[8:]), f"asked for {asked.hex()}, got {got.hex()}")
            check(c.ping6(FE80_1), "fe80::1 does not answer")
            c.hang_up()
    gh.no_sessions()


def test_ipv6_identifier_taken(lab, gh):
    """Two calls with one identifier: the second has no IPv6, all else works, and the first does not notice."""
    with dial(lab, iid=IID) as first, dial(lab, "erin", "secret", iid=IID) as second:
        first.open_ipv6cp()
        check(first.ping6(FE80_1), "the first call has no IPv6")
        since = gh.mark()
        with contextlib.suppress(TimeoutError):
            second.start_ipv6cp()
            second.pump(lambda: sstpclient.IPV6CP in second.open, 3)
        e = gh.wait_event("ip6-taken", since=since)
        check(e.get("user") == "erin", e["text"])
        check(not second.ping6(FE80_1, timeout=1), "the second call has the first one's address")
        check(second.ping(POOL_SERVER), "the second has no IPv4")
        check(first.ping6(FE80_1, seq=2), "the first call lost its IPv6")
        second.hang_up()
        gh.wait_event("call-down", since=since, user="erin")
        check(first.ping6(FE80_1, seq=3), "the first call's IPv6 went with the second call")
        first.hang_up()
    gh.no_sessions()


# ---- packets and records -------------------------------------------------------------------------------------------

UDP_SEGMENT = 103


def test_records_are_packed(lab, gh):
    """
    Packets of a burst share records; each starts with FF 03 and two bytes of protocol (Client checks it). A burst is
    less than what this client's TCP window takes.
    """
    bursts, burst, size = 4, 50, 1000
    with dial(lab, records=True) as c:
        s = lab.inside.sock(kind=socket.SOCK_DGRAM)
        with contextlib.closing(s):
            s.setsockopt(socket.SOL_UDP, UDP_SEGMENT, size)  # a whole burst reaches the tunnel in one go
            s.connect((c.address, 9300))
            before = len(c.s.records)
            for n in range(bursts):
                want, got = list(range(n * burst, (n + 1) * burst)), []
                s.send(b"".join(struct.pack("!I", i).ljust(size, b"x") for i in want))

                def take(f, got=got):
                    if f.protocol == IP and f.data[9] == 17:
                        got.append(struct.unpack("!I", f.data[28:32])[0])
                    return len(got) == burst
                c.wait_packet(take, 5)
                check(got == want, f"{len(got)} of {burst} packets came, or in disorder: {gh.session('alice')}")
        records = c.s.records[before:]
        check(len(records) <= bursts * burst // 2, f"{bursts * burst} packets took {len(records)} records")
        print(f"# {bursts * burst} packets of {size} bytes in {len(records)} records")
        for r in records:  # cut at packet boundaries
            while r:
                check(r[:2] == b"\x10\x00", f"a record goes on with {r[:4].hex()}")
                length, = struct.unpack("!H", r[2:4])
                check(length <= len(r), "a packet is cut by a record")
                r = r[length:]
        c.hang_up()


def test_answer_has_its_own_record(lab, gh):
    """sstpc throws away what shares a record with the HTTP answer: nothing does, though the request brought a CCR."""
    for split in (False, True):
        with Client(lab.client, SERVER4, ca=lab.ca.cert, records=True) as c:
            if split:
                c.http()
                c.connect_request()
            else:
                c.http(with_request=sstpclient.CCR_BYTES)
                c.take_ack()
            first, second = c.s.records[:2]
            check(first.startswith(b"HTTP/1.1 200") and first.find(b"\r\n\r\n") == len(first) - 4, f"record {first!r}")
            check(second[:2] == b"\x10\x01" and struct.unpack("!H", second[4:6])[0] == CC_ACK, f"record {second.hex()}")
            check(c.login("alice", "wonderland", "mschapv2"), "login")
            c.send_connected()
            c.open_ipcp()
            check(c.ping(POOL_SERVER), "no ping")
            c.hang_up()
    gh.no_sessions()


def test_large_packet_from_client(lab, gh):
    """A packet of 1500 bytes is taken, though the tunnel's MTU is less: clients of 1500 exist."""
    check(gh.conf["vpn"]["mtu"] == MTU, "another MTU")
    sink = lab.inside.listen(INSIDE4, 9301, socket.SOCK_DGRAM)
    sink.settimeout(5)
    with contextlib.closing(sink), dial(lab) as c:
        for size in (MTU, MTU + 1, 1500):
            data = os.urandom(size - 28)
            c.send_ip(sstpclient.udp(c.address, INSIDE4, 1, 9301, data))
            got, peer = sink.recvfrom(4096)
            check(got == data and peer[0] == c.address, f"{len(got)} bytes of {len(data)} from {peer}")
        c.hang_up()


# ---- the end -------------------------------------------------------------------------------------------------------

def closes_within(c, seconds, what):
    """The server's FIN or reset comes in time, though nothing is answered; returns the messages before it."""
    said, began = [], time.monotonic()
    while True:
        try:
            item = c.read(max(0.01, began + seconds - time.monotonic()))
        except Closed:
            return said
        except TimeoutError:
            raise LabError(f"not closed {seconds} s after {what}; said {said}") from None
        if isinstance(item, sstpclient.Message):
            said.append(item.kind)


def test_peer_ignores_our_end(lab, gh):
    """ABORT and DISCONNECT are not answered: the connection is closed within 5 s all the same (MS-SSTP 3.3.2.1)."""
    with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
        c.http()
        c.connect_request()
        check(c.login("alice", "wonderland", "mschapv2"), "login")
        c.send_connected(hlak=b"\1" * 32)
        c.expect(ABORT)
        closes_within(c, 5.3, "its ABORT")
    with dial(lab) as c:
        gh.cli("disconnect", "--user", "alice")
        c.expect(DISCONNECT)
        closes_within(c, 5.3, "its DISCONNECT")
    gh.no_sessions()


class Flood:
    """Packets from the inside host to a call, without end."""

    def __init__(self, lab, dst):
        self.s = lab.inside.sock(kind=socket.SOCK_DGRAM)
        self.s.connect((dst, 9400))
        self.on = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.on:
            with contextlib.suppress(OSError):
                for _ in range(20):
                    self.s.send(b"f" * 1000)
            time.sleep(0.002)

    def close(self):
        self.on = False
        self.thread.join(5)
        self.s.close()


def pour(s):
    """A web server that never comes to an end."""
    ws.read_head(s)
    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
    while True:
        s.sendall(b"w" * 65536)


def swallow(client, state):
    with contextlib.suppress(OSError, ValueError):
        while part := client.s.recv(65536):
            state["bytes"] += len(part)


def test_sigterm_uncooperative(lab):
    """Clients that answer nothing, that read nothing, that finish nothing, and a web relay at work: done in 6.5 s."""
    with contextlib.ExitStack() as stack:
        web = ws.TcpService(lab.server, 8090, pour)
        stack.callback(web.close)
        gh = lab.gatehouse(web=[{"upstream": "127.0.0.1:8090"}])
        stack.callback(gh.close)
        gh.start()
        mute = stack.enter_context(dial(lab))
        deaf = stack.enter_context(dial(lab, "erin", "secret", receive_buffer=4096))
        half = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert))
        half.http()
        silent = stack.enter_context(contextlib.closing(lab.client.connect(SERVER4, 443)))
        busy = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert))
        stuck = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert, receive_buffer=4096))
        for c in (busy, stuck):
            c.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
        state = {"bytes": 0}
        threading.Thread(target=swallow, args=(busy, state), daemon=True).start()
        stack.enter_context(contextlib.closing(Flood(lab, deaf.address)))
        wait_for(lambda: gh.session("erin")["drop_queue"] > 0, 15, "packets that the deaf client has no room for")
        wait_for(lambda: state["bytes"] > 1 << 20, 10, "the relay at work")
        began = time.monotonic()
        gh.proc.signal(signal.SIGTERM)
        status = gh.proc.wait(12)
        took = time.monotonic() - began
        check(status == 0, f"status {status}: {gh.tail()}")
        check(took < 6.5, f"it took {took:.1f} s: {gh.tail()}")
        check(gh.events("stopped") and not gh.events("stop-forced"), gh.tail())
        check(not gh.events("engine-died"), gh.tail())
        closes_within(mute, 1, "the server's end")
        silent.settimeout(1)
        with contextlib.suppress(ConnectionResetError):
            check(silent.recv(1) == b"", "the silent connection is open")
        gh.close()
        gh.check_nothing_left()


def test_engine_killed(lab):
    """The engine dies: the monitor says so, takes everything down and ends with status 1."""
    with contextlib.ExitStack() as stack:
        gh = lab.gatehouse(vpn={"nat": "auto"})
        stack.callback(gh.close)
        gh.start()
        stack.enter_context(dial(lab))
        os.kill(gh.engine_pids()[0], signal.SIGKILL)
        status = gh.proc.wait(5)
        check(status == 1, f"status {status}")
        e = gh.events("engine-died")
        check(len(e) == 1 and e[0].get("signal") == "9" and e[0].get("remedy"), gh.tail())
        gh.close()
        gh.check_nothing_left()


# ---- limits --------------------------------------------------------------------------------------------------------

OTHER4 = "192.0.2.9"


@contextlib.contextmanager
def other_source(lab):
    lab.client.ip("addr", "add", f"{OTHER4}/24", "dev", "out0")
    try:
        yield OTHER4
    finally:
        lab.client.ip("addr", "del", f"{OTHER4}/24", "dev", "out0")


def is_closed_at_once(s, timeout=1):
    s.settimeout(timeout)
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def one_refusal(gh, since, count, words, option):
    """As many lines as connections, each with its peer and what to do."""
    lines = wait_for(lambda: (lambda x: x if len(x) >= count else None)(gh.events("refused", since)), 3,
                     lambda: f"{count} lines: {gh.tail()}")
    check(len(lines) == count, f"{len(lines)} lines instead of {count}")
    for e in lines:
        check(words in e["text"] and e.get("level") == "notice" and e.get("peer"), e["text"])
        check(option in (e.get("remedy") or ""), f"the remedy does not name {option}: {e['text']}")


def serves(lab, host=SERVER4, **kw):
    with Client(lab.client, host, ca=lab.ca.cert, **kw) as c:
        c.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n")
        return c.read_head().startswith(b"HTTP/1.1 200")


def test_unauthenticated_per_source(lab):
    """Beyond the limit a source's connections are closed at once; other sources are served; places come back."""
    limit = 4
    with lab.gatehouse(limits={"unauthenticated-per-source": limit}, worker={"threads": 1}, web=[{}]) as gh, \
            contextlib.ExitStack() as stack, other_source(lab):
        call = stack.enter_context(dial(lab))  # logged in: counts no more
        held = [stack.enter_context(contextlib.closing(lab.client.connect(SERVER4, 443))) for _ in range(limit)]
        since = gh.mark()
        for _ in range(3):
            with contextlib.closing(lab.client.connect(SERVER4, 443)) as s:
                check(is_closed_at_once(s), "one too many is not closed")
        one_refusal(gh, since, 3, "too many unfinished connections", "limits.unauthenticated-per-source")
        check(not any(is_closed_at_once(s, 0.1) for s in held), "an earlier connection was closed")
        check(serves(lab, source=OTHER4), "another source is not served")
        check(serves(lab, SERVER6), "another source over IPv6 is not served")
        check(call.ping(POOL_SERVER), "the call of that source suffered")
        held[0].close()
        wait_for(lambda: gh.cli("status") and serves_quietly(lab), 5, "a place comes back")
        call.hang_up()


def serves_quietly(lab):
    try:
        return serves(lab)
    except (OSError, Closed):
        return False


def test_unauthenticated_per_source6(lab):
    """An IPv6 source is a /64: who has one has all of its addresses."""
    lab.client.ip("addr", "add", "2001:db8:1::99/64", "dev", "out0", "nodad")
    try:
        with lab.gatehouse(limits={"unauthenticated-per-source": 2}, worker={"threads": 1}, web=[{}]) as gh, \
                contextlib.ExitStack() as stack:
            for source in (CLIENT6, "2001:db8:1::99"):
                stack.enter_context(contextlib.closing(lab.client.connect(SERVER6, 443, source=source)))
            since = gh.mark()
            for source in (CLIENT6, "2001:db8:1::99"):
                with contextlib.closing(lab.client.connect(SERVER6, 443, source=source)) as s:
                    check(is_closed_at_once(s), f"{source} had its neighbour's places too")
            one_refusal(gh, since, 2, "too many unfinished connections", "limits.unauthenticated-per-source")
            check(serves(lab), "IPv4 is not served")
    finally:
        lab.client.ip("addr", "del", "2001:db8:1::99/64", "dev", "out0")


def test_web_per_source(lab):
    """Beyond the limit a source's web connections are closed; its calls and other sources are not."""
    limit = 3
    with lab.gatehouse(limits={"web-per-source": limit}, worker={"threads": 1}, web=[{}]) as gh, \
            contextlib.ExitStack() as stack, other_source(lab):
        held = []
        for _ in range(limit):
            c = stack.enter_context(Client(lab.client, SERVER4, ca=lab.ca.cert))
            c.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
            check(c.read_head().startswith(b"HTTP/1.1 200"), "no page")
            held.append(c)
        since = gh.mark()
        with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
            c.send(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
            check(c.read_all(2) == b"", "one too many was served")
        one_refusal(gh, since, 1, "too many web connections", "limits.web-per-source")
        check(serves(lab, source=OTHER4), "another source is not served")
        with dial(lab) as c:
            check(c.ping(POOL_SERVER), "a call of that source is refused")
            c.hang_up()
        held[0].close()
        wait_for(lambda: serves_quietly(lab), 5, "a place comes back")


def test_max_calls(lab):
    """The call beyond the limit gets 503 and a line that says what to do; a place comes back when a call ends."""
    with lab.gatehouse(vpn={"max-calls": 1}, web=[{}]) as gh, dial(lab) as first:
        since = gh.mark()
        with Client(lab.client, SERVER4, ca=lab.ca.cert) as c:
            c.send(c.request())
            answer = c.read_all(5)
            check(answer.startswith(b"HTTP/1.1 503 "), f"answer {answer!r}")
        one_refusal(gh, since, 1, "all calls are taken", "vpn.max-calls")
        check(serves(lab), "the web suffers")
        check(first.ping(POOL_SERVER), "the first call suffered")
        first.hang_up()
        gh.no_sessions()
        with dial(lab, "erin", "secret") as c:
            check(c.ping(POOL_SERVER), "no ping")
            c.hang_up()
