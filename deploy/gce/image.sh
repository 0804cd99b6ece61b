#!/usr/bin/env bash
# Bake an image with Python, mrcore and the user's packages installed, so that VMs start in half a
# minute. A VM installs everything, switches itself off, and its disk becomes the image.
#
#   mrcore gce image --bucket BUCKET [--requirements FILE] [--machine-type T] [OPTION...]
#
#   --family F      family of the image                     [mrcore]
#   --image I       what to start from                      [Debian 12]
#   other options as of `mrcore gce up`
#
# Then: mrcore gce run … --image family/mrcore. An image costs about $0.05 a GB and month until it is
# deleted: gcloud compute images delete NAME.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "$cluster_values family " "$cluster_flags" strict "$@"
    settle_place
    opt[workers]=0
    opt[max-workers]=1
    printf -v name 'image-%(%Y%m%d-%H%M%S)T' -1
    settle_name "${opt[name]:-$name}"
    settle_home
    [[ -n $home ]] || die "which bucket? Give --bucket BUCKET."
    check_before || exit 2
    dry || trap finish_image EXIT
    bake || exit 1
}

bake() {
    local vm=mrcore-$name-image image zone python_label=${opt[python]:-3.11}
    python_label=${python_label/./-} # labels hold no dots
    local -a machine=()
    open_record || return 1
    zone=${c[master_zone]}
    look_once || return 1
    together upload_payload make_accounts || return 1
    dry || read_record show "--home=$home" || return 1
    machine_options image
    made change "Making the VM" compute instances create "$vm" "--zone=$zone" "--machine-type=$(first_type)" "${machine[@]/-action=DELETE/-action=STOP}" || return 1
    image=mrcore-$(printf '%(%Y%m%d-%H%M%S)T' -1)
    dry || await_end "$vm" "$zone" || return 1
    change "Making the image" compute images create "$image" "--source-disk=$vm" "--source-disk-zone=$zone" \
        "--family=${opt[family]:-mrcore}" "--labels=mrcore-image=${c[payload_sha256]:0:16},mrcore-owner=${c[owner]},mrcore-python=${python_label}" || return 1
    change "Deleting the VM" compute instances delete "$vm" "--zone=$zone" || return 1
    dry || say "the image is $image; use it with --image $image, or --image family/${opt[family]:-mrcore}."
}

# Wait until the VM has switched itself off, and its boot log says that all went well.
await_end() {
    local state i
    for ((i = 0; i < 200; i++)); do
        state=$(look "Looking at $1" compute instances describe "$1" "--zone=$2" '--format=value(status)') || return 1
        if [[ $state == TERMINATED || $state == STOPPED ]]; then
            helper logs "--home=$home" "--vm=$1" >"$scratch/boot" || true
            grep -q '^boot: done' "$scratch/boot" && return 0
            tail -n 20 "$scratch/boot" >&2
            say "the VM could not install everything; the end of its boot log is above."
            return 1
        fi
        nap 3
    done
    say "the VM has not ended within ten minutes; its serial port: $(quoted mrcore gce logs "--name=$name" "$1" --serial)"
    return 1
}

finish_image() {
    local code=$?
    trap - EXIT
    remove_cluster || ((code != 0)) || code=1
    leave_now "$code"
}
