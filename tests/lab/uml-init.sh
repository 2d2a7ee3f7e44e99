#!/bin/bash
# Init of the User Mode Linux guest (lablib.py, class Uml): a kernel with PPP for sstpc and pppd.
# Its root is the host's own file system, read-only; what it writes goes to a tmpfs of its own.
# GH_* come from the kernel command line, which hands unknown NAME=VALUE pairs to init as its environment.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for dir in /run /var/log; do mount -t tmpfs tmpfs "$dir"; done
# The laboratory's files stay where they are, wherever the checkout is: below /tmp, too.
mkdir -p /run/lab && mount --bind "$GH_OUT" /run/lab
mount -t tmpfs tmpfs /tmp
mkdir -p "$GH_OUT" 2>/dev/null && mount --bind /run/lab "$GH_OUT"
mkdir -p /run/sstpc /run/lock /run/ppp /run/etc-ppp
# Files that the guest changes, over the host's, which then becomes read-only.
cp -a /etc/ppp/. /run/etc-ppp && mount --bind /run/etc-ppp /etc/ppp
echo "127.0.0.1 localhost" >/run/hosts && mount --bind /run/hosts /etc/hosts
mount -o remount,ro /

modules=/usr/lib/uml/modules/$(uname -r)/kernel
for m in lib/crc-ccitt net/ipv6/ipv6 drivers/net/slip/slhc drivers/net/ppp/ppp_generic drivers/net/ppp/ppp_async \
         drivers/net/ppp/ppp_synctty drivers/net/ppp/pppox; do
    insmod "$modules/$m.ko" 2>/dev/null
done
[ -c /dev/ppp ] || mknod /dev/ppp c 108 0

sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
ip link set lo up
ip addr add "$GH_ADDR4" dev vec0
ip -6 addr add "$GH_ADDR6" dev vec0 nodad
ip link set vec0 up
ip route add default via "$GH_GW4"
ip -6 route add default via "$GH_GW6"
hostname uml
# Each connection is a shell; the laboratory's own tap is the only way here.
exec socat "TCP-LISTEN:$GH_PORT,bind=${GH_ADDR4%/*},reuseaddr,fork" EXEC:/bin/bash,stderr
