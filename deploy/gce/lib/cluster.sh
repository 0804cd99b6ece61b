# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# A cluster as it is wanted: its record, its names, and what each of its parts is made of.
# Sourced by main.sh.

declare -gA c=()

# read_record HELPER_ARGUMENT...: fill `c` with the fields that the helper prints.
read_record() {
    local line text code=0
    text=$(helper "$@") || code=$?
    ((code == 0)) || return "$code"
    c=()
    while IFS= read -r line; do
        c[${line%%=*}]=${line#*=}
    done <<<"$text"
}

# joined WORD...: as one field of a record.
joined() {
    local IFS=$'\t'
    printf '%s' "$*"
}

# The machine type that is wanted most.
first_type() {
    printf '%s' "${c[machine_types]%%$'\t'*}"
}

# Make the record of a cluster from the options, or go on with the one that is there.
open_record() {
    local given="" now owner max_run
    printf -v now '%(%s)T' -1
    owner=$(owner_label)
    max_run=$(helper seconds "${opt[max-run-duration]:-12h}") || exit 2
    local -A fields=(
        [name]=$name [home]=$home [project]=$project [location]=$(location) [master_zone]=$(master_zone)
        [owner]=$owner [created_seconds]=$now [expires_seconds]=$((now + max_run + 3600))
        [machine_types]=${opt[machine-type]:-e2-standard-4}
        [master_machine_type]=${opt[master-machine-type]:-e2-standard-2}
        [provisioning]=spot [workers]=${opt[workers]:-2} [min_workers]=${opt[min-workers]:-0}
        [max_workers]=${opt[max-workers]:-${opt[workers]:-2}}
        [network]=${opt[network]:-default} [subnet]=${opt[subnet]:-} [image]=$(image_path)
        [disk_gib]=${opt[disk-size]:-50} [connect]=${opt[connect]:-iap} [max_run_seconds]=$max_run
        [idle_timeout]=${opt[idle-timeout]:-15m} [deadline]=${opt[deadline]:-} [max_cost]=${opt[max-cost]:-}
        [vm_env]=$(joined "${vm_env[@]}") [inputs]=$(joined "${job_inputs[@]}") [outputs]=$(joined "${job_outputs[@]}") [temps]=$(joined "${job_temps[@]}")
        [master_account]=${opt[service-account-master]:-$(account master)}
        [worker_account]=${opt[service-account-worker]:-$(account worker)}
        [manage_iam]=yes [kept]=no
    )
    fields[machine_types]=${fields[machine_types]//,/$'\t'}
    [[ $command_name != up && -z ${opt[keep]:-} ]] || fields[kept]=yes
    [[ -z ${opt[on-demand]:-} ]] || fields[provisioning]=standard
    [[ -z ${opt[service-account-master]:-}${opt[service-account-worker]:-} ]] || fields[manage_iam]=no
    local option field
    for option in "${!opt[@]}"; do
        case $option in
        zone | region) field="location master_zone" ;;
        on-demand | spot) field=provisioning ;;
        max-run-duration) field="max_run_seconds expires_seconds" ;;
        machine-type) field=machine_types ;;
        disk-size) field=disk_gib ;;
        service-account-*) field="master_account worker_account manage_iam" ;;
        *) field=${option//-/_} ;;
        esac
        case " ${!fields[*]} " in *" ${field%% *} "*) [[ -z ${opt[$option]} ]] || given+=" $field" ;; esac
    done
    [[ -z ${opt[workers]:-} || -n ${opt[max-workers]:-} ]] || given+=" max_workers"
    [[ -z ${vm_env[*]-} ]] || given+=" vm_env"
    # With another master the life of a cluster begins anew.
    have instance "mrcore-$name-master" || given+=" created_seconds expires_seconds"
    local -a pairs=()
    for field in "${!fields[@]}"; do
        pairs+=("$field=${fields[$field]}")
    done
    if dry; then
        read_record plan -- "${pairs[@]}" payload_sha256=PAYLOAD_SHA256
        return
    fi
    read_record open "--given=${given# }" -- "${pairs[@]}"
}

# load_cluster: the record of the cluster that --name and --home or --bucket say; NOT_FOUND if none.
load_cluster() {
    settle_place
    settle_name "${rest[0]:-}"
    settle_home
    [[ -n $home ]] && ! dry || return "$NOT_FOUND"
    read_record show "--home=$home" || return
}

location() {
    if [[ -n ${opt[region]:-} ]]; then printf 'regions/%s' "${opt[region]}"; else printf 'zones/%s' "${opt[zone]}"; fi
}

# The zone of the master: the workers' own, or the first of the region that is up.
master_zone() {
    local zone=${opt[zone]:-}
    if [[ -z $zone ]] && ! dry; then
        zone=$(look "Listing the zones" compute zones list "--filter=region:${opt[region]} AND status=UP" '--format=value(name)' | head -n 1)
    fi
    printf '%s' "${zone:-${opt[region]:-}-b}"
}

account() {
    printf 'mrcore-%s@%s.iam.gserviceaccount.com' "$1" "$project"
}

# The full path of the image: --image may be a name, family/NAME or a path of another project.
image_path() {
    local image=${opt[image]:-} arm=
    [[ ${opt[machine-type]:-} != t2a-* && ${opt[machine-type]:-} != c4a-* && ${opt[machine-type]:-} != n4a-* ]] || arm=-arm64
    case $image in
    "") printf 'projects/debian-cloud/global/images/family/debian-12%s' "$arm" ;;
    projects/*) printf '%s' "$image" ;;
    family/* | *) printf 'projects/%s/global/images/%s' "$project" "$image" ;;
    esac
}

# Labels may hold lower-case letters, digits, - and _.
owner_label() {
    local owner=${USER:-${LOGNAME:-unknown}}
    owner=${owner,,}
    owner=${owner//[^a-z0-9_-]/-}
    printf '%s' "${owner:0:63}"
}

labels() {
    printf 'mrcore=%s,mrcore-role=%s,mrcore-owner=%s,mrcore-expires=%s' "${c[name]}" "$1" "${c[owner]}" "${c[expires_seconds]}"
}

# The same for what takes no labels.
description() {
    local text
    text=$(labels "$1")
    printf '%s' "${text//,/ }"
}

# The option that says where the groups are.
place_option() {
    case ${c[location]} in
    regions/*) printf -- '--region=%s' "${c[location]#*/}" ;;
    *) printf -- '--zone=%s' "${c[location]#*/}" ;;
    esac
}

region_of() {
    case ${c[location]} in
    regions/*) printf '%s' "${c[location]#*/}" ;;
    *) local zone=${c[location]#*/}; printf '%s' "${zone%-*}" ;;
    esac
}

# The lines of the daemons' environment.
environment_lines() {
    local line
    printf 'MRCORE_STATE=%s/state\nMRCORE_CLUSTER=%s\nMRCORE_FLEET=gce:%s/%s\n' "${c[home]}" "${c[name]}" "${c[project]}" "${c[location]}"
    printf 'MRCORE_MIN_WORKERS=%s\nMRCORE_MAX_WORKERS=%s\nMRCORE_DEADLINE=%s\n' "${c[min_workers]:-0}" "${c[max_workers]}" "${c[deadline]:-}"
    printf 'MRCORE_MAX_COST=%s\nMRCORE_IDLE_TIMEOUT=%s\n' "${c[max_cost]:-}" "${c[idle_timeout]}"
    for line in ${c[vm_env]:-}; do
        printf '%s\n' "$line"
    done
}

# machine_options ROLE: fill `machine` with what `instances create` and `instance-templates create`
# have in common.
machine_options() {
    local role=$1 account=${c[worker_account]} image=${c[image]}
    [[ $role == worker ]] || account=${c[master_account]}
    machine=(
        --no-address "--tags=mrcore-${c[name]}" "--labels=$(labels "$role")"
        "--service-account=$account" --scopes=cloud-platform
        "--boot-disk-size=${c[disk_gib]}GB" --boot-disk-type=pd-balanced
        "--max-run-duration=${c[max_run_seconds]}s" --instance-termination-action=DELETE
        "--metadata=$(metadata "$role")"
        "--metadata-from-file=startup-script=$deploy/vm/startup.sh,shutdown-script=$deploy/vm/shutdown.sh"
    )
    image=${image#projects/}
    case $image in
    */family/*) machine+=("--image-family=${image##*/}" "--image-project=${image%%/*}") ;;
    *) machine+=("--image=${image##*/}" "--image-project=${image%%/*}") ;;
    esac
    if [[ -n ${c[subnet]} ]]; then
        machine+=("--subnet=${c[subnet]}")
    else
        machine+=("--network=${c[network]}")
    fi
}

# Metadata attributes, with a separator that no value has.
metadata() {
    printf '^@@^mrcore-cluster=%s@@mrcore-role=%s@@mrcore-home=%s@@' "${c[name]}" "$1" "${c[home]}"
    printf 'mrcore-payload=%s/payload/%s.tar.gz@@mrcore-payload-sha256=%s@@' "${c[home]}" "${c[payload_sha256]}" "${c[payload_sha256]}"
    printf 'mrcore-env=%s' "$(environment_lines)"
}
