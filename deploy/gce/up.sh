#!/usr/bin/env bash
# Make a cluster, and leave it up; the same command again finishes what was interrupted.
#
#   mrcore gce up --name NAME --bucket BUCKET [OPTION...]
#
#   --workers N             size of the group at first                    [2]
#   --min-workers N         the fleet keeps so many, work or not          [0]
#   --max-workers N         the fleet never makes more                    [--workers]
#   --spot | --on-demand    what kind of VMs at first                     [--spot]
#   --machine-type A,B,C    of the workers; with --region ranked          [e2-standard-4]
#   --master-machine-type T                                               [e2-standard-2]
#   --requirements FILE     packages for the user's code, as for pip
#   --wheels gs://B/FOLDER  let wheels stay there, so that the next cluster need not upload them
#   --max-run-duration D    Compute Engine deletes every VM after it      [12h]
#   --idle-timeout D        a master without a job removes the cluster    [15m]
#   --deadline D            time that a job may take; the fleet hurries
#   --max-cost DOLLARS      the fleet stops, and its jobs fail, at this
#   --input URI             a prefix that jobs will read; may be given for one
#   --output URI            a prefix that jobs will write
#   --connect iap|direct    through Google's tunnel, or inside the network [iap]
#   --network N, --subnet S where the VMs are                             [default]
#   --image NAME|family/F   an image that `mrcore gce image` has baked    [Debian 12]
#   --python V              of the VMs; only another image has another    [3.11]
#   --disk-size GB          of each VM                                    [50]
#   --service-account-master E, --service-account-worker E
#                           use these accounts, and change no permissions
#   --shared-bucket B       a bucket of others, whose owner has let the workers' account in
#   --vm-env KEY=VALUE      for the daemons' environment; may be repeated
#   --cross-region          let the bucket be elsewhere than the VMs
#
# Exit codes: 0 it is up, 1 something failed, 2 it cannot work as given, 3 the master does not answer.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "$cluster_values" "$cluster_flags" strict "$@"
    settle_place
    settle_name "${rest[0]:-}"
    settle_home
    [[ -n $home ]] || die "where is the cluster to have its home? Give --bucket BUCKET."
    [[ -z ${opt[input]:-} ]] || job_inputs=("${opt[input]}")
    [[ -z ${opt[output]:-} ]] || job_outputs=("${opt[output]%/}/")
    check_before || exit 2
    trap stop_making INT TERM HUP
    if ! make_cluster; then
        dry || say "not all of it could be made; run the same command again, or remove the rest: $(removal_command)"
        exit 1
    fi
    if dry; then
        connect
        tell_group_errors
        printf '# An hour of work comes to this:\n'
        estimate --hours=1 | sed 's/^/# /'
        return 0
    fi
    connect
    await_master 600 || exit 3
    say "$name is up; its home is $home. It removes itself after ${c[idle_timeout]} without a job."
    say "run a job:  $(quoted mrcore gce run PLUGIN INPUT... -o OUT "--name=$name" "--home=$home")"
    say "remove it:  $(removal_command)"
}

# What is there stays: that is what the same command goes on with.
stop_making() {
    trap - INT TERM HUP
    say "stopping …"
    wait_for_makers
    say "stopped; the same command again goes on, and this removes what is there: $(removal_command)"
    exit 130
}
