#!/bin/busybox sh
# First process of the test system: Debian's kernel, busybox, tee-supplicant, and what xtask put in.
# With /etc/tally/command it runs that, tells its status to the host and powers off; else a shell.
/bin/busybox ln -s . /usr
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /run /tmp /data /var/lib/tee /var/lib/optee-client/data
# Where supplicants keep files: that of Debian 12, that of Debian 13.
/bin/busybox ln -s /var/lib/tee /data/tee
/bin/busybox ln -s /var/lib/tee /var/lib/optee-client/data/tee
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ PS1='tally> '
ip link set lo up

for module in virtio_mmio virtio_console tee optee; do
    file="/lib/modules/$module.ko"
    # Else it is built in.
    [ ! -f "$file" ] || insmod "$file" || echo "init: $file cannot be loaded"
done
# The port that the host listens on.
results=/dev/vport0p1
tries=0
until [ -c "$results" ] || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    usleep 20000
done
if [ -c /dev/teepriv0 ]; then
    tee-supplicant -d
else
    echo "init: optee.ko found no trusted OS; see dmesg"
fi

cd /
if [ -f /etc/tally/command ]; then
    sh /etc/tally/command
else
    setsid cttyhack sh
fi
status=$?
# "Power down" is no output of the command.
echo 0 >/proc/sys/kernel/printk
if [ -f /etc/tally/keep ]; then
    for file in /var/lib/tee/*; do
        [ -f "$file" ] || continue
        {
            printf '{"file":"%s","hex":"' "$file"
            hexdump -v -e '/1 "%02x"' "$file"
            echo '"}'
        } >"$results"
    done
fi
echo "status $status" >"$results"
poweroff -f
