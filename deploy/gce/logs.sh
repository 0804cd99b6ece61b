#!/usr/bin/env bash
# The logs of a VM, which it has written to the cluster's home: how it booted, and the end of what its
# daemons have said. They are there after the VM has gone. Logs of user code: mrcore logs JOB.
#
#   mrcore gce logs --name NAME [VM]       without a VM: which VMs have logs
#   mrcore gce logs --name NAME VM --serial
#
#   --serial     ask Compute Engine for the serial port of a VM that runs

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" " serial " strict "$@"
    [[ -n ${opt[name]:-} ]] || die "which cluster? Give --name."
    settle_place
    settle_name
    local vm=${rest[0]:-} code=0 zone=${opt[zone]:-ZONE}
    if [[ -n ${opt[serial]:-} ]]; then
        [[ -n $vm ]] || die "which VM? Write mrcore gce logs --name $name VM --serial."
        if ! dry; then
            take_inventory "$name" || exit 1
            have instance "$vm" || die "the cluster $name has no VM $vm; what it said before may be in: mrcore gce logs --name $name $vm"
            zone=$(field 3 "$found")
        fi
        if dry; then
            quoted gcloud compute instances get-serial-port-output "$vm" "--zone=$zone" "--project=$project"
        else
            look "Reading the serial port of $vm" compute instances get-serial-port-output "$vm" "--zone=$zone"
        fi
        return
    fi
    settle_home
    [[ -n $home ]] || die "where is the home of $name? Give --bucket, since no VM is there to tell."
    if dry; then
        printf '# Reads %s/logs; no gcloud command.\n' "$home"
        return 0
    fi
    helper logs "--home=$home" "--vm=$vm" || code=$?
    ((code != NOT_FOUND)) || die "there are no logs of $vm yet: they come when it has booted, and every few minutes; --serial shows what it says now." 1
    return "$code"
}
