#!/bin/bash
# What a VM of a cluster runs when it is stopped, deleted or preempted: drain, then save the log.

set -uo pipefail

prefix="${PREFIX:-}"

# Everything has to fit into the half minute that a preempted VM has. The units may be stopping
# already; this waits for the same jobs.
timeout 25 systemctl stop mrcore-tail-logs.timer 'mrcore-worker@*.service' mrcore-master.service

if [[ -x $prefix/opt/mrcore/payload/tail-logs ]]; then
    host="$(sed -n 's/^GCE_METADATA_HOST=//p' "$prefix/etc/mrcore/mrcore.env")"
    export GCE_METADATA_HOST="${GCE_METADATA_HOST:-${host:-metadata.google.internal}}"
    timeout 20 "$prefix/opt/mrcore/payload/tail-logs"
fi
