#!/bin/sh
# What an administrator does with the package, under the container's systemd. A line for each check goes
# to `results`, `ok NAME` or `FAILED NAME`, and `end` when all were made.
cd /rstmon-test || exit 1
url=http://127.0.0.1:19435

check() {
    name=$1
    shift
    if "$@" >>log 2>&1; then echo "ok $name" >>results; else echo "FAILED $name" >>results; fi
}
# Until the command succeeds, twenty seconds at most.
within_20s() {
    for _ in $(seq 200); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    return 1
}
says() { # PROPERTY PATTERN
    systemctl show --property "$1" --value rstmon | grep -q "$2"
}
counted() {
    curl --silent --fail "$url/metrics" | grep -q '^rstmon_resets_total{kind="sent",cause="port-closed",.* [1-9]'
}
logged() { # OPTION…
    journalctl --quiet --output cat "$@" | grep -q '"cause":"port-closed"'
}
refused() {
    ! curl --noproxy "*" --silent --max-time 5 http://127.0.0.1:9/
}
main_pid() { systemctl show --property MainPID --value rstmon; }
nothing_left() {
    for path in /usr/bin/rstmon /etc/rstmon /run/rstmon /var/lib/rstmon /var/log/rstmon \
        /usr/lib/systemd/system/rstmon.service /lib/systemd/system/rstmon.service; do
        if [ -e "$path" ]; then echo "$path is there"; return 1; fi
    done
}

# Before the package: a watchdog that a test can wait for, and both logs.
mkdir -p /etc/systemd/system/rstmon.service.d /etc/rstmon/rstmon.toml.d
printf '[Service]\nWatchdogSec=6\nTimeoutAbortSec=1\nRestartSec=1\n' \
    >/etc/systemd/system/rstmon.service.d/test.conf
printf '[events]\noutput = "journald"\nfile = "/var/log/rstmon/events.jsonl"\n' \
    >/etc/rstmon/rstmon.toml.d/test.toml

check "the package installs" dpkg --install rstmon.deb
check "systemd takes the unit without a complaint" systemd-analyze verify --man=no rstmon.service
check "its service is active, as Type=notify has it" systemctl is-active rstmon
check "it is enabled" systemctl is-enabled rstmon
check "it tells its state" says StatusText "watching TCP resets"
check "it is ready" curl --silent --fail "$url/-/ready"
check "a connection is refused" refused
check "the reset is counted" within_20s counted
check "it is in the journal, with its fields" within_20s logged RSTMON_CAUSE=port-closed
check "it is in the file" within_20s grep -q '"cause":"port-closed"' /var/log/rstmon/events.jsonl
check "rstmon top finds the socket" rstmon top --batch -n 1 --connect /run/rstmon/rstmon.sock
pid=$(main_pid)
printf 'keep = 3\n' >>/etc/rstmon/rstmon.toml.d/test.toml
check "it reloads" systemctl reload rstmon
check "the reload is told" within_20s journalctl --quiet --unit rstmon --grep "was read again"
sleep 8
check "the watchdog is fed" test "$pid" = "$(main_pid)"
check "the count stays" counted
kill -STOP "$pid"
check "one that hangs is started again" within_20s says NRestarts 1
check "and is ready again" within_20s curl --silent --fail "$url/-/ready"
check "it stops" systemctl stop rstmon
check "as it should" says Result success
check "the socket is gone" test ! -e /run/rstmon/rstmon.sock
rm -r /etc/systemd/system/rstmon.service.d /etc/rstmon/rstmon.toml.d
check "it starts again" systemctl start rstmon
check "the package is purged" dpkg --purge rstmon
check "with its service" sh -c '! systemctl is-active rstmon'
check "nothing is left" nothing_left
journalctl --no-pager --unit rstmon --unit rstmon-test >journal
cat log >>journal
echo end >>results
