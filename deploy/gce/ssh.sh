#!/usr/bin/env bash
# A shell on the master, or on another VM of the cluster, through Google's tunnel; no VM has an
# external address. What follows `--` is run there instead.
#
#   mrcore gce ssh --name NAME [VM] [-- COMMAND...]
#
# Logs there: journalctl -u 'mrcore-*'. It is gcloud's own ssh: the first use makes a key.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    local -a before=() command=()
    while (($#)); do
        if [[ $1 == -- ]]; then
            shift
            command=("$@")
            break
        fi
        before+=("$1")
        shift
    done
    take_options "" "" strict "${before[@]}"
    settle_place
    settle_name "${opt[name]:-}"
    local vm=${rest[0]:-mrcore-$name-master} zone=${opt[zone]:-ZONE}
    if ! dry; then
        take_inventory "$name" || exit 1
        have instance "$vm" || die "the cluster $name has no VM $vm; see: mrcore gce status --name $name"
        zone=$(field 3 "$found")
    fi
    local -a ssh=(gcloud compute ssh "$vm" "--zone=$zone" "--project=$project" --tunnel-through-iap)
    ((${#command[@]} == 0)) || ssh+=("--command=$(quoted "${command[@]}")")
    if dry; then
        quoted "${ssh[@]}"
        return 0
    fi
    # It owns the terminal from here on.
    rm -rf "$scratch"
    exec "${ssh[@]}"
}
