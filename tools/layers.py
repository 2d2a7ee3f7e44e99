#!/usr/bin/env python3
"""The layer rule: includes point upward only, and protocol cores touch neither sockets, files, clocks nor random sources.

Usage: layers.py BUILD_DIR. Prints every breach with its place; exit status 1 when there is one.
"""
import os
import re
import subprocess
import sys

CORES = ["http", "sstp", "auth", "ppp", "ip"]
MAY_INCLUDE = {
    "base": set(),
    "http": {"base"},
    "sstp": {"base"},
    "auth": {"base"},
    "ppp": {"base", "auth"},
    "ip": {"base"},
    "net": {"base"},
    "tls": {"base", "net"},
    "tun": {"base", "ip"},
    "web": {"base", "http", "net", "tls"},
    "ctl": {"base"},
    "server": {"base", "http", "sstp", "auth", "ppp", "ip", "net", "tls", "tun", "web", "ctl"},
    "cli": {"base", "http", "sstp", "auth", "ppp", "ip", "net", "tls", "tun", "web", "ctl", "server"},
}
IMPURE = re.compile(
    r"^(socket|connect|bind|listen|accept4?|send(to|msg)?|recv(from|msg)?|read|write|readv|writev|pread|pwrite|open(at)?|"
    r"fopen|fread|fwrite|close|poll|ppoll|select|epoll_\w+|ioctl|time|gettimeofday|clock_gettime|clock|nanosleep|usleep|"
    r"sleep|rand|srand|random|srandom|getrandom|getentropy|arc4random\w*|RAND_\w+|localtime\w*|getenv|system|fork|"
    r"exec\w*|pthread_\w+)(@.*)?$")
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|alloca|strtok|atoi|rand)\s*\(")
SECRET_CMP = re.compile(r"\bmemcmp\s*\([^;]*(hlak|nt_hash|password|secret|mac|response)\b")


def sources():
    for top, _, files in os.walk("src"):
        for name in sorted(files):
            if name.endswith((".c", ".h")):
                yield os.path.join(top, name)


def check_includes(faults):
    for path in sources():
        layer = path.split(os.sep)[1]
        for number, line in enumerate(open(path), 1):
            m = re.match(r'\s*#include\s+"([a-z]+)/', line)
            if m and m.group(1) != layer and m.group(1) not in MAY_INCLUDE[layer]:
                faults.append(f"{path}:{number}: {layer} must not include {m.group(1)}")
            code = line.split("/*")[0].split("//")[0]
            m = BANNED.search(code)
            if m:
                faults.append(f"{path}:{number}: {m.group(1)} is not used here")
            if SECRET_CMP.search(code):
                faults.append(f"{path}:{number}: secrets are compared with ct_equal")


def check_purity(build, faults):
    for core in CORES:
        archive = f"{build}/src/{core}/lib{core}.a"
        out = subprocess.run(["nm", "-u", "-A", archive], capture_output=True, text=True, check=True).stdout
        for line in out.splitlines():
            symbol = line.split()[-1]
            if IMPURE.match(symbol):
                faults.append(f"{line.split(':')[0]} {line.split(':')[1]}: a protocol core references {symbol}")


def main():
    faults = []
    check_includes(faults)
    check_purity(sys.argv[1] if len(sys.argv) > 1 else "build", faults)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
