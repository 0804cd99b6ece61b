# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# The command line: long options into `opt`, the rest into `rest`. Sourced by main.sh.

declare -gA opt=()
declare -ga rest=() job=() vm_env=() shared_buckets=()

# Words besides options that a command takes; else it takes one, a name.
readonly -A words_of=([gc]=0 [audit]=0 [image]=0 [scale]=2)

readonly common_values=" project zone region name bucket home "
readonly common_flags=" dry-run yes json "
readonly cluster_values=" workers min-workers max-workers machine-type master-machine-type requirements wheels max-run-duration deadline max-cost idle-timeout connect network subnet image disk-size python service-account-master service-account-worker shared-bucket vm-env input output "
readonly cluster_flags=" spot on-demand cross-region "

# take_options VALUES FLAGS HOW ARGUMENT...: HOW is `strict`, or `job` to keep what is unknown, in
# its order, for `mrcore run`.
take_options() {
    local values="$common_values$1" flags="$common_flags$2" how=$3 name value
    shift 3
    while (($#)); do
        case $1 in
        -h | --help) print_help_of "$command_name" ;;
        --)
            if [[ $how == job ]]; then
                job+=("$@")
                return 0
            fi
            shift
            rest+=("$@")
            break
            ;;
        --*)
            name=${1#--}
            name=${name%%=*}
            if [[ $flags == *" $name "* ]]; then
                [[ $1 != *=* ]] || die "--$name takes no value; see mrcore gce $command_name --help."
                opt[$name]=yes
            elif [[ $values == *" $name "* ]]; then
                if [[ $1 == *=* ]]; then
                    value=${1#*=}
                else
                    # Before another option the value was forgotten: --dry-run must not be taken for it.
                    [[ $# -gt 1 && $2 != --* ]] || die "--$name needs a value; see mrcore gce $command_name --help."
                    value=$2
                    shift
                fi
                set_option "$name" "$value"
                [[ $how != job || $name != output ]] || job+=("-o" "$value")
            elif [[ $how == job ]]; then
                job+=("$1")
            else
                die "mrcore gce $command_name knows no option --$name; see mrcore gce $command_name --help."
            fi
            ;;
        -o | -o?*)
            value=${1#-o}
            if [[ -z $value ]]; then
                [[ $how == job && $# -gt 1 ]] || die "-o needs a folder, and a command that takes it."
                value=$2
                shift
            fi
            set_option output "$value"
            job+=("-o" "$value")
            ;;
        -?*)
            [[ $how == job ]] || die "mrcore gce $command_name knows no option $1; see mrcore gce $command_name --help."
            job+=("$1")
            ;;
        *) if [[ $how == job ]]; then job+=("$1"); else rest+=("$1"); fi ;;
        esac
        shift
    done
    ((${#rest[@]} <= ${words_of[$command_name]:-1})) ||
        die "mrcore gce $command_name knows nothing to do with ${rest[-1]}; see mrcore gce $command_name --help."
}

set_option() {
    case $1 in
    vm-env)
        # Not @@: it separates the attributes of a VM. To systemd a quote at the start, and a backslash,
        # are more than themselves.
        [[ $2 =~ ^[A-Za-z_][A-Za-z0-9_]*=([^[:space:]\"\'\\][^[:space:]\\]*)?$ && $2 != *@@* ]] ||
            die "--vm-env $2 is not of the form KEY=VALUE, without spaces, backslashes and @@, and no quote first."
        vm_env+=("$2")
        ;;
    shared-bucket) shared_buckets+=("$(bucket_of "gs://${2#gs://}")") ;;
    esac
    opt[$1]=$2
}

# What gcloud has been configured with: the project and the zone, where they are set. Also in a dry run:
# it asks no cloud.
read_settings() {
    command -v gcloud >/dev/null || return 0
    # A gcloud that cannot tell has no setting: what is missing is asked for by its option.
    call "Reading gcloud's settings" config list '--format=value[separator="|"](core.project,compute.zone)' 2>/dev/null || true
}

# Where things are to be: the project, and the zone or region.
settle_place() {
    local settings='|'
    dry || command -v gcloud >/dev/null || die "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"
    open_log
    project=${opt[project]:-${CLOUDSDK_CORE_PROJECT:-}}
    [[ -n $project && -n ${opt[zone]:-${opt[region]:-${CLOUDSDK_COMPUTE_ZONE:-}}} ]] || settings=$(read_settings)
    project=${project:-${settings%%|*}}
    [[ -n $project ]] || die "which project? Give --project, or run: gcloud config set project PROJECT"
    [[ -z ${opt[zone]:-} || -z ${opt[region]:-} ]] || die "give --zone or --region, not both: workers are in one zone, or in any zone of a region."
    opt[zone]=${opt[zone]:-${opt[region]:+}}
    if [[ -z ${opt[zone]} && -z ${opt[region]:-} ]]; then
        opt[zone]=${CLOUDSDK_COMPUTE_ZONE:-${settings#*|}}
    fi
}

# The home of the cluster: --home, or --bucket, or what its VMs say, or the bucket of the output.
settle_home() {
    local bucket=${opt[bucket]:-${MRCORE_GCE_BUCKET:-}} output=${opt[output]:-}
    bucket=${bucket#gs://}
    bucket=${bucket%/}
    [[ $bucket =~ ^[a-z0-9._-]*$ ]] || die "--bucket ${opt[bucket]:-$bucket} names no bucket: write BUCKET or gs://BUCKET; --home takes a folder."
    output=${output#gs://}
    if [[ -n ${opt[home]:-} ]]; then
        home=${opt[home]%/}
    elif [[ -n $bucket ]]; then
        home=gs://$bucket/mrcore/$name
    elif [[ -n $output && -z ${opt[name]:-} ]]; then
        # The name is the output's own: what was there before was made for it.
        home=gs://${output%%/*}/mrcore/$name
    else
        ask_machines || exit 1
        home=$told_home
        [[ -n $home || -z $output ]] || home=gs://${output%%/*}/mrcore/$name
    fi
    [[ -z $home || $home =~ ^gs://[a-z0-9._-]+/[^[:space:]]+$ ]] || die "--home $home is no folder of a bucket; write gs://BUCKET/FOLDER, without spaces."
}

# open_log [CLUSTER]: every gcloud command is written down, by cluster; a dry run leaves nothing.
open_log() {
    dry && return 0
    local folder="${XDG_STATE_HOME:-$HOME/.local/state}/mrcore/gce/${1:-}"
    folder=${folder%/}
    mkdir -p "$folder"
    log_file=$folder/gcloud.log
}

settle_name() {
    name=${opt[name]:-${1:-}}
    [[ -z ${1:-} || $name == "$1" ]] || die "which cluster, $name or $1? Name one."
    [[ -n $name ]] || die "which cluster? Give --name, or see: mrcore gce audit"
    [[ $name =~ ^[a-z]([a-z0-9-]{0,29}[a-z0-9])?$ ]] ||
        die "$name cannot name a cluster: use at most 31 lower-case letters, digits and hyphens, with a letter first and no hyphen last."
    open_log "$name"
}
