#!/usr/bin/env bash
# Remove a cluster: VMs, groups, templates, firewall rules, bindings, and all objects of its home.
# Outputs of jobs stay. May be repeated; removes what is left of a cluster that was half made.
#
#   mrcore gce down --name NAME [--bucket BUCKET | --home URI]
#
# The home is found out from the VMs while there are any; afterwards name its bucket.
#
# Exit codes: 0 nothing is left, 1 something could not be removed.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "" strict "$@"
    local code=0
    load_cluster || code=$?
    # Without a record, or with one that cannot be read, the cloud alone says what there is.
    ((code == 0)) || c=()
    confirm "Remove the cluster $name of project $project?"
    if [[ -z $home ]] && ! dry; then
        say "no VM tells where $name had its home: if objects are left, name it with --bucket."
    fi
    : "${c[manage_iam]=yes}"
    remove_cluster || die "not all of $name could be removed; run the same command again." 1
    dry || say "nothing is left of $name."
}
