#!/bin/sh
# Boots systemd over a copy-on-write view of this machine's files. $1 has the package (rstmon.deb) and
# what to do (inside.sh); results come back there. Run as root in a mount namespace of its own.
set -eu
folder=$1
room=$folder/room
mkdir "$room"
mount -t tmpfs tmpfs "$room"
mkdir "$room/upper" "$room/work" "$room/root"
mount -t overlay -o "lowerdir=/,upperdir=$room/upper,workdir=$room/work" overlay "$room/root"
root=$room/root
# A machine of its own, on which daemons may start.
rm -f "$root/etc/machine-id" "$root/usr/sbin/policy-rc.d"
mkdir "$root/rstmon-test"
cp "$folder/rstmon.deb" "$folder/inside.sh" "$root/rstmon-test/"
cat >"$root/etc/systemd/system/rstmon-test.service" <<'UNIT'
[Service]
Type=oneshot
TimeoutStartSec=240
ExecStart=/bin/sh /rstmon-test/inside.sh
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT

# Under a systemd of this machine the container is a scope of it. Without one it is given a control
# group, and a /run in which nspawn leaves its own folders.
groups=
if [ ! -d /run/systemd/system ]; then
    mount -t tmpfs tmpfs /run
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        if [ -e "$hierarchy/cgroup.procs" ]; then
            groups="$groups $hierarchy/rstmon-test-$$"
            mkdir "$hierarchy/rstmon-test-$$"
            echo $$ >"$hierarchy/rstmon-test-$$/cgroup.procs"
        fi
    done
    set -- --keep-unit
else
    set --
fi
status=0
systemd-nspawn "$@" --quiet --register=no --link-journal=no --machine=rstmon-test \
    --directory="$root" --private-network --console=pipe --boot \
    --capability=CAP_BPF,CAP_PERFMON --system-call-filter="bpf perf_event_open" \
    --bind-ro=/sys/kernel/tracing \
    -- --unit=rstmon-test.service --show-status=no >"$folder/console" 2>&1 || status=$?
for result in results journal; do
    cp "$root/rstmon-test/$result" "$folder/" || status=1
done
for group in $groups; do
    echo $$ >"$(dirname "$group")/cgroup.procs"
    find "$group" -depth -type d -exec rmdir {} + || :
done
[ "$status" = 0 ] || cat "$folder/console"
exit "$status"
