#!/usr/bin/env bash
# What a cluster has cost so far, by what its master has counted: useful work, boot, idle time, work
# lost to preemption, and storage operations.
#
#   mrcore gce cost --name NAME [--json]

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "" strict "$@"
    settle_place
    settle_name "${rest[0]:-}"
    settle_home
    [[ -n $home ]] || die "where is the home of $name? Give --bucket, since no VM is there to tell."
    if dry; then
        printf '# Reads %s/state; no gcloud command.\n' "$home"
        return 0
    fi
    "$python" -P -m mrcore.cost report "--state=$home/state" ${opt[json]:+--json}
}
