# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# What would go wrong, found before anything is made. Sourced by main.sh.
#
# A check prints findings, `error|SENTENCE`, `warn|SENTENCE` or `ok|WHAT`; all checks run at once.

readonly all_checks=(check_versions check_services check_permissions check_machines check_bucket check_subnet)

# check_before [CHECK...]: run all checks, and these; fail if one has found an error. A dry run asks
# the cloud nothing, so it checks the options alone.
check_before() {
    check_options
    collect_findings "$@"
    local kind sentence failed=0
    while IFS='|' read -r kind sentence; do
        case $kind in
        error)
            say "$sentence"
            failed=1
            ;;
        warn) say "mind: $sentence" ;;
        esac
    done <<<"$findings"
    return "$failed"
}

# Fill `findings`.
collect_findings() {
    local check
    local -a checks=("$@") jobs=()
    findings=
    if ! dry; then
        check_gcloud
        checks+=("${all_checks[@]}")
    fi
    for check in "${checks[@]}"; do
        # A check that cannot ask has said why, and that is an error too.
        jobs+=("$check >${scratch@Q}/check-$check 2>${scratch@Q}/words-$check || printf 'error|%s\n' \"\$(failed_check $check)\" >>${scratch@Q}/check-$check")
    done
    ((${#jobs[@]} == 0)) || together "${jobs[@]}" || true
    for check in "${checks[@]}"; do
        findings+=$(<"$scratch/check-$check")$'\n'
    done
}

failed_check() {
    local words
    words=$(tail -n 1 "$scratch/words-$1")
    printf '%s' "${words#mrcore gce: }"
}

# What needs no cloud: wrong options stop at once.
check_options() {
    local number duration seconds type most types=${opt[machine-type]:-},${opt[master-machine-type]:-}
    for number in workers min-workers max-workers disk-size; do
        [[ -z ${opt[$number]:-} ]] || is_count "${opt[$number]}" || die "--$number ${opt[$number]} is not a number from 0 to 10000."
    done
    most=${opt[max-workers]:-${opt[workers]:-2}}
    [[ $command_name == image ]] || ((most > 0)) || die "a cluster without workers runs no job: give --workers N or --max-workers N."
    # Compute Engine knows no smaller disks of Debian, and VMs that live from 30 seconds to 120 days.
    ((${opt[disk-size]:-50} >= 10)) || die "--disk-size ${opt[disk-size]:-} is too small: the system alone needs 10 GB."
    for duration in max-run-duration idle-timeout deadline; do
        [[ -n ${opt[$duration]:-} ]] || continue
        seconds=$(helper seconds "${opt[$duration]}" 2>/dev/null) ||
            die "--$duration ${opt[$duration]} is not a duration; write one such as 30s, 5m or 1h30m."
        [[ $duration != max-run* ]] || ((seconds >= 30 && seconds <= 10368000)) ||
            die "--$duration ${opt[$duration]} cannot be: Compute Engine takes 30 seconds to 120 days."
    done
    for type in ${types//,/ }; do
        [[ $type =~ ^[a-z][a-z0-9]*(-[a-z0-9]+)+$ ]] || die "$type is not a machine type: write one such as e2-standard-4."
    done
    [[ -z ${opt[spot]:-} || -z ${opt[on-demand]:-} ]] || die "give --spot or --on-demand, not both."
    [[ ${opt[connect]:-iap} =~ ^(iap|direct)$ ]] || die "--connect ${opt[connect]} is neither iap nor direct."
    [[ -z ${opt[max-cost]:-} || ${opt[max-cost]} =~ ^[0-9]{1,8}(\.[0-9]+)?$ && ${opt[max-cost]} =~ [1-9] ]] ||
        die "--max-cost ${opt[max-cost]} is no number of dollars above 0."
    [[ -n ${opt[zone]:-}${opt[region]:-} ]] || die "where? Give --zone or --region, or run: gcloud config set compute/zone ZONE"
    ((most >= ${opt[workers]:-2})) || die "--max-workers is less than --workers."
    ((${opt[min-workers]:-0} <= most)) || die "--min-workers is more than --max-workers."
    [[ -z ${opt[requirements]:-} || -f ${opt[requirements]} ]] || die "--requirements ${opt[requirements]} is no file: check its name."
    [[ -z ${opt[region]:-} || -n ${opt[region]##*-[a-z]} ]] || die "--region ${opt[region]} looks like a zone: say --zone."
}

# is_count TEXT: a number of things. Not 08, which is none to the shell.
is_count() {
    [[ $1 =~ ^(0|[1-9][0-9]{0,3}|10000)$ ]]
}

check_gcloud() {
    command -v gcloud >/dev/null || die "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"
    [[ -n ${CLOUDSDK_AUTH_ACCESS_TOKEN:-} ]] ||
        [[ -n $(look "Asking who is logged in" auth list --filter=status:ACTIVE '--format=value(account)') ]] ||
        die "gcloud is not logged in; run: gcloud auth login"
}

# Code travels pickled and as wheels, so both sides need one Python.
check_versions() {
    local here there=${opt[python]:-3.11}
    here=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [[ -z ${opt[image]:-} && $there != 3.11 ]]; then
        printf 'error|Debian 12 has Python 3.11 on the VMs, not %s: leave --python out, or name an --image that has it.\n' "$there"
    elif [[ $here == "$there" ]]; then
        printf 'ok|Python %s here and on the VMs\n' "$here"
    else
        printf 'error|Python is %s here and %s on the VMs: run mrcore with Python %s, or bake an image that has %s and say --python %s.\n' "$here" "$there" "$there" "$here" "$here"
    fi
}

check_services() {
    local enabled service
    local -a off=()
    enabled=$(look "Listing the APIs of $project" services list --enabled '--format=value(config.name)') || return 1
    for service in "${needed_services[@]}"; do
        [[ $service != iap.* || ${opt[connect]:-iap} == iap ]] || continue
        [[ $'\n'$enabled$'\n' == *$'\n'$service$'\n'* ]] || off+=("$service")
    done
    if ((${#off[@]})); then
        printf 'error|APIs of %s are off; switch them on with: gcloud services enable %s --project=%s\n' "$project" "${off[*]}" "$project"
    else
        printf 'ok|APIs\n'
    fi
}

check_permissions() {
    local token lacking uses=
    [[ -n ${opt[service-account-master]:-}${opt[service-account-worker]:-} ]] || uses=iam
    [[ ${opt[connect]:-iap} != iap ]] || uses+=' iap'
    token=$(look "Asking for a token" auth print-access-token) || return 1
    lacking=$(MRCORE_GCE_TOKEN=$token helper permissions "--project=$project" "--bucket=$(bucket_of "$home")" "--for=$uses") || return 1
    if [[ -n $lacking ]]; then
        printf 'error|your account lacks permissions on %s: %s; ask its owner for the roles that docs/gce.md names.\n' "$project" "${lacking//$'\n'/, }"
    else
        printf 'ok|permissions\n'
    fi
}

# The machine types exist there, and the quotas leave room for what is to come.
check_machines() {
    local place type known cpus=0 master_cpus=0 first='' wanted=${opt[machine-type]:-e2-standard-4}
    local master_type=${opt[master-machine-type]:-e2-standard-2} region=${opt[region]:-${opt[zone]%-*}}
    place=${opt[zone]:-$region-}
    known=$(look "Listing the machine types" compute machine-types list "--filter=name=(${wanted//,/ } $master_type) AND zone~$place" \
        '--format=value(name,guestCpus)') || return 1
    if [[ -z $known ]]; then
        printf 'error|%s has none of the machine types %s, or is no place: see gcloud compute zones list\n' "${opt[zone]:-$region}" "${wanted//,/ } $master_type"
        return 0
    fi
    for type in ${wanted//,/ } "$master_type"; do
        cpus=$(awk -v type="$type" '$1 == type { print $2; exit }' <<<"$known")
        if [[ -z $cpus ]]; then
            printf 'error|there is no machine type %s in %s: see gcloud compute machine-types list\n' "$type" "${opt[zone]:-$region}"
            return 0
        fi
        first=${first:-$cpus}
        master_cpus=$cpus
    done
    [[ $wanted != *,* || -n ${opt[region]:-} ]] || printf 'warn|only a --region takes several machine types; in a zone the first is used.\n'
    check_quota "$region" "${wanted%%,*}" "$first" "$master_type" "$master_cpus"
}

# check_quota REGION TYPE_OF_WORKER ITS_CPUS TYPE_OF_MASTER ITS_CPUS: what is there is in use already.
check_quota() {
    local workers=${opt[workers]:-2} there masters most
    most=${opt[max-workers]:-$workers}
    together "list_instances ${name@Q} >${scratch@Q}/there" \
        "look 'Reading the quotas of $1' compute regions describe ${1@Q} '--format=json(quotas)' >${scratch@Q}/quotas" \
        "look 'Reading the quotas of $project' compute project-info describe '--format=json(name,quotas)' >${scratch@Q}/quotas-of-project" || return 1
    there=$(grep -c '|worker|' "$scratch/there") || true
    masters=$(grep -c '|master|' "$scratch/there") || true
    helper quota "--region=$1" "--quotas=$scratch/quotas" "--quotas-of-project=$scratch/quotas-of-project" -- \
        "workers=$((workers > there ? workers - there : 0))" "most=$((most > there ? most - there : 0))" \
        "masters=$((masters ? 0 : 1))" "worker_type=$2" "worker_cpus=$3" "master_type=$4" "master_cpus=$5" \
        "spot=$([[ -n ${opt[on-demand]:-} ]] || printf yes)" "disk_gib=${opt[disk-size]:-50}"
}

# The bucket is there, near, and does not keep what is deleted.
check_bucket() {
    local bucket told region=${opt[region]:-${opt[zone]%-*}} code=0 tolerated=$NOT_FOUND
    bucket=$(bucket_of "$home")
    told=$(look "Looking at the bucket $bucket" storage buckets describe "$bucket" --raw --format=json) || code=$?
    if ((code == NOT_FOUND)); then
        printf 'error|there is no bucket %s: make it with: gcloud storage buckets create %s --project=%s --location=%s --uniform-bucket-level-access --soft-delete-duration=0\n' "$bucket" "$bucket" "$project" "$region"
        return 0
    fi
    ((code == 0)) || return 1
    helper bucket "--region=$region" "--bucket=$bucket" "--iam=$([[ -n ${opt[service-account-worker]:-} ]] || printf yes)" \
        "--cross-region=${opt[cross-region]:-}" <<<"$told"
}

# VMs without an external address reach Google's services by the subnet's Private Google Access alone.
check_subnet() {
    local region=${opt[region]:-${opt[zone]%-*}} subnet=${opt[subnet]:-${opt[network]:-default}} access code=0 tolerated=$NOT_FOUND
    subnet=${subnet##*/}
    access=$(look "Looking at the subnet $subnet" compute networks subnets describe "$subnet" "--region=$region" \
        '--format=value(privateIpGoogleAccess)') || code=$?
    if ((code == NOT_FOUND)); then
        printf 'error|network %s has no subnet %s in %s: name one with --subnet, or make it.\n' "${opt[network]:-default}" "$subnet" "$region"
    elif ((code != 0)); then
        return 1
    elif [[ ${access,,} != true ]]; then
        printf 'error|the subnet %s lets VMs without external address reach no bucket; allow it with: gcloud compute networks subnets update %s --region=%s --enable-private-ip-google-access --project=%s\n' "$subnet" "$subnet" "$region" "$project"
    else
        printf 'ok|Private Google Access\n'
    fi
}

# The job itself: its plugin loads, its inputs are there, its output is free. Fills in what later
# steps want to know.
check_job() {
    local facts line code=0
    facts=$("$python" -P -m mrcore.cli.gce_job ${home:+"--home=$home"} "${job[@]}") || code=$?
    printf '%s\n' "$facts" >"$scratch/job"
    ((code == 0)) || return 1
    [[ $'\n'$facts == *$'\n'error=* ]] || printf 'ok|the job\n'
    # What is wrong with a bucket is met by every check that looks at it.
    awk '!known[$0]++' <<<"$facts" | while IFS= read -r line; do
        [[ $line != error=* ]] || printf 'error|%s\n' "${line#error=}"
    done
}

# fact NAME: what check_job has found out; several values one a line.
fact() {
    sed -n "s/^$1=//p" "$scratch/job" 2>/dev/null || true
}

# What it is going to cost, as far as that can be said before.
estimate() {
    local type=${opt[machine-type]:-e2-standard-4} provisioning=spot workers=${opt[workers]:-2}
    [[ -z ${opt[on-demand]:-} ]] || provisioning=standard
    # A group that is empty at first is grown for the work.
    ((workers > 0)) || workers=${opt[max-workers]}
    "$python" -P -m mrcore.cost estimate "--input-bytes=$(fact input_bytes | grep . || echo 0)" \
        "--input-files=$(fact input_files | grep . || echo 0)" "--workers=$workers" \
        "--machine-type=$type" "--master-type=${opt[master-machine-type]:-e2-standard-2}" "--disk-gib=${opt[disk-size]:-50}" \
        "--provisioning=$provisioning" "--region=${opt[region]:-${opt[zone]%-*}}" "$@"
}
