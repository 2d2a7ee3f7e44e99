#!/bin/sh
# Hook of uacme for http-01: writes challenges into the folder that listen.acme-webroot names. The folder is in the
# environment variable ACME_WEBROOT when it is another one than /var/lib/gatehouse/acme.
#
#   uacme -h /usr/local/share/gatehouse/uacme-hook.sh issue vpn.example.com
#
# Called with: begin|done|failed TYPE NAME TOKEN ANSWER. Nothing is to be done about the certificate itself: Gatehouse
# watches the files.
set -eu
umask 022

if [ $# -ne 5 ]; then
    echo "usage: $0 begin|done|failed TYPE NAME TOKEN ANSWER (see uacme -h)" >&2
    exit 2
fi
method=$1 type=$2 token=$4 answer=$5
[ "$type" = http-01 ] || exit 1 # declined: uacme asks for the next type

case $token in
'' | *[!A-Za-z0-9_-]*)
    echo "$0: \"$token\" is no token (RFC 8555 8.3)" >&2
    exit 1
    ;;
esac
folder=${ACME_WEBROOT:-/var/lib/gatehouse/acme}/.well-known/acme-challenge

case $method in
begin)
    mkdir -p "$folder"
    printf %s "$answer" >"$folder/.$token.new"
    mv "$folder/.$token.new" "$folder/$token"
    ;;
done | failed)
    rm -f "$folder/$token"
    ;;
*)
    exit 2
    ;;
esac
