#!/bin/sh
# An image that holds busybox and nothing else, made on the host itself.
set -eu
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends busybox-static >/dev/null
mkdir -p /srv/probe/root/bin
cp /bin/busybox /srv/probe/root/bin/
for applet in sh nc wget nslookup ping sleep timeout httpd echo; do
  ln -sf busybox "/srv/probe/root/bin/$applet"
done
tar -C /srv/probe/root -c . | docker import -c 'ENV PATH=/bin' - private-llm-lab/probe:1 >/srv/probe/image
