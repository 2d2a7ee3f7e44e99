#!/usr/bin/env python3
"""The layer rule: includes point upward only, and protocol cores touch neither sockets, files, clocks nor random sources.

Usage: layers.py BUILD_DIR, in the source folder. Prints every breach with its place; exit status 1 when there is one.
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
    "priv": {"base"},
    "tunnel": {"base", "sstp", "ppp", "ip", "net", "tls"},
    "config": {"base", "http", "tls"},
    "server": {"base", "http", "sstp", "auth", "ppp", "ip", "net", "tls", "tun", "web", "ctl", "priv", "tunnel", "config"},
    "client": {"base", "http", "sstp", "auth", "ppp", "ip", "net", "tls", "tun", "ctl", "priv", "tunnel", "config"},
    "cli": {"base", "http", "sstp", "auth", "ppp", "ip", "net", "tls", "tun", "web", "ctl", "priv", "tunnel", "config", "server", "client"},
}
# What of libc a protocol core may call: it touches memory and nothing else.
PURE = set("""
malloc calloc realloc free memcpy memmove memset memcmp memchr memrchr bcmp strlen strnlen strchr strrchr strcmp strncmp
strcasecmp strncasecmp strpbrk strdup strndup snprintf vsnprintf inet_ntop inet_pton __assert_fail __stack_chk_fail
_GLOBAL_OFFSET_TABLE_ __cpu_model __cpu_indicator_init
""".split())  # the last two: what the CPU can (__builtin_cpu_supports)
# And what of base it may not: these set the process up, from files and random sources.
SETUP = {"digest_init", "digest_fini", "hash_seed", "log_setup"}
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
            m = re.match(r'\s*#\s*include\s+"([a-z0-9_]+)/', line)
            if m and layer not in MAY_INCLUDE:
                faults.append(f"{path}:{number}: {layer} is no layer")
            elif m and m.group(1) != layer and m.group(1) not in MAY_INCLUDE[layer]:
                faults.append(f"{path}:{number}: {layer} must not include {m.group(1)}")
            code = line.split("/*")[0].split("//")[0]
            m = BANNED.search(code)
            if m:
                faults.append(f"{path}:{number}: {m.group(1)} is not used here")
            if SECRET_CMP.search(code):
                faults.append(f"{path}:{number}: secrets are compared with ct_equal")


def symbols(build, layer, *options):
    """(object, symbol) of a layer's archive as nm lists them; a fortified __memcpy_chk counts as memcpy."""
    archive = f"{build}/src/{layer}/lib{layer}.a"
    out = subprocess.run(["nm", "-A", *options, archive], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        symbol = line.split()[-1].split("@")[0]
        yield os.path.basename(line.split(":")[1]), re.sub(r"^__(\w+)_chk$", r"\1", symbol) if symbol not in PURE else symbol


def check_purity(build, faults):
    """An allow list: a name that nobody thought of is refused, not overlooked."""
    for layer in ["base", *CORES]:
        if not os.path.exists(f"{build}/src/{layer}/lib{layer}.a"):
            faults.append(f"{build}/src/{layer}/lib{layer}.a: is not there")
            return
    defined = {layer: {s for _, s in symbols(build, layer, "-g", "--defined-only")} for layer in ["base", *CORES]}
    for core in CORES:
        allowed = PURE.union(defined[core], *(defined[layer] for layer in MAY_INCLUDE[core])) - SETUP
        for name, symbol in symbols(build, core, "-u"):
            if symbol not in allowed:
                faults.append(f"{core}/{name}: a protocol core references {symbol}")


def main():
    faults = []
    check_includes(faults)
    check_purity(sys.argv[1] if len(sys.argv) > 1 else "build", faults)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
