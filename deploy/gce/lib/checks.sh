# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# What would go wrong, found before anything is made. Sourced by main.sh.
#
# A check prints findings, `error|SENTENCE`, `warn|SENTENCE` or `ok|WHAT`; all checks run at once.

# What the cloud and this machine must offer for VMs to be made; and for a job on VMs that are there.
readonly all_checks=(check_services check_permissions check_machines check_quotas check_bucket check_subnet check_image check_accounts)
readonly checks_of_job=(check_permissions check_bucket)

# check_before [CHECK...]: run all checks, and these; fail if one has found an error. What the cloud
# has of the cluster is looked up meanwhile, into `inventory`. A dry run asks the cloud nothing, so it
# checks the options alone.
check_before() {
    check_options
    dry || say "checking project $project and ${opt[zone]:-${opt[region]}} …"
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

# Fill `findings`. All that is asked of the cloud is asked at the same time, since each call of gcloud
# takes seconds.
collect_findings() {
    local check
    local -a checks=("$@") jobs=() listings=()
    findings=
    if dry; then
        # For what they read; there is nothing to judge.
        for check in "${all_checks[@]}"; do
            "$check" >/dev/null || true
        done
    else
        checks+=(check_versions)
        if [[ $command_name == run ]] && master_runs; then
            checks+=("${checks_of_job[@]}")
        else
            checks+=("${all_checks[@]}")
        fi
        [[ $looked == "$name" ]] || plan_listings "$name"
    fi
    ((${#listings[@]} == 0)) || jobs+=("together ${listings[*]@Q} || : >${scratch@Q}/failed-listings")
    for check in "${checks[@]}"; do
        # A check that cannot ask has said why, and that is an error too.
        jobs+=("$check >${scratch@Q}/check-$check 2>${scratch@Q}/words-$check || failed_check $check >>${scratch@Q}/check-$check")
    done
    together "${jobs[@]}" || true
    for check in "${checks[@]}"; do
        findings+=$(<"$scratch/check-$check")$'\n'
    done
    if [[ -e $scratch/failed-listings ]]; then
        findings+=$(failed_check listings)$'\n'
    elif ((${#listings[@]})); then
        read_listings
        looked=$name
    fi
    findings+=$(judge_quotas)$'\n'$(judge_buckets) || true
    findings=$(sort_out_causes)
}

master_runs() {
    have instance "mrcore-$name-master" && [[ $(field 4 "$found") == RUNNING ]]
}

failed_check() {
    local words
    words=$(tail -n 1 "$scratch/words-$1")
    printf 'error|%s\n' "${words#mrcore gce: }"
}

# What makes every call fail is told once, and in place of what it has led to.
sort_out_causes() {
    awk -F ' failed: ' '
        { lines[NR] = $0 }
        /or is no place/ { nowhere = NR }
        /^error\|/ && NF > 1 && !known[$2]++ && /gcloud is not logged in|there is no project|no billing account|cannot be reached|gcloud is too old|is not installed/ { root = root ? root : NR }
        END {
            for (i = 1; i <= NR; i++) {
                split(lines[i], part, " failed: ")
                if (lines[i] == "" || seen[lines[i]]++) continue
                if (part[2] != "" && (root ? i != root : told[part[2]]++)) continue
                if (root && i == nowhere) continue
                if (nowhere && lines[i] ~ / has no subnet | and the VMs in /) continue
                print lines[i]
            }
        }' <<<"$findings"
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
    # Here, since the master on its VM could not start with a list that cannot be read.
    [[ -z ${MRCORE_PRICES:-} ]] || helper prices "$MRCORE_PRICES" || exit 2
    [[ ${opt[connect]:-iap} =~ ^(iap|direct)$ ]] || die "--connect ${opt[connect]} is neither iap nor direct."
    [[ -z ${opt[max-cost]:-} || ${opt[max-cost]} =~ ^[0-9]{1,8}(\.[0-9]+)?$ && ${opt[max-cost]} =~ [1-9] ]] ||
        die "--max-cost ${opt[max-cost]} is no number of dollars above 0."
    [[ -n ${opt[zone]:-}${opt[region]:-} ]] || die "where? Give --zone or --region, or run: gcloud config set compute/zone ZONE"
    ((most >= ${opt[workers]:-2})) || die "--max-workers is less than --workers."
    ((${opt[min-workers]:-0} <= most)) || die "--min-workers is more than --max-workers."
    [[ -z ${opt[wheels]:-} || ${opt[wheels]} =~ ^gs://[a-z0-9._-]+/[^[:space:]]+$ ]] || die "--wheels ${opt[wheels]} is no folder of a bucket: write gs://BUCKET/FOLDER."
    [[ -z ${opt[wheels]:-} || ${opt[wheels]%/}/ != "$home"/* ]] || die "--wheels ${opt[wheels]} lies in the cluster's home, and would go with it: name another folder."
    [[ -z ${opt[requirements]:-} || -f ${opt[requirements]} ]] || die "--requirements ${opt[requirements]} is no file: check its name."
    [[ -z ${opt[region]:-} || -n ${opt[region]##*-[a-z]} ]] || die "--region ${opt[region]} looks like a zone: say --zone."
}

# is_count TEXT: a number of things. Not 08, which is none to the shell.
is_count() {
    [[ $1 =~ ^(0|[1-9][0-9]{0,3}|10000)$ ]]
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
    ! dry || return 0
    printf '%s' "$token" >"$scratch/token"
    lacking=$(MRCORE_GCE_TOKEN=$token helper permissions "--project=$project" "--bucket=$(bucket_of "$home")" "--for=$uses") || return 1
    if [[ -n $lacking ]]; then
        printf 'error|your account lacks permissions on %s: %s; ask its owner for the roles that docs/gce.md names.\n' "$project" "${lacking//$'\n'/, }"
    else
        printf 'ok|permissions\n'
    fi
}

wanted_region() {
    printf '%s' "${opt[region]:-${opt[zone]%-*}}"
}

# The machine types exist there.
check_machines() {
    local type known wanted=${opt[machine-type]:-e2-standard-4} master_type=${opt[master-machine-type]:-e2-standard-2}
    local -a where=("--filter=name=(${wanted//,/ } $master_type)" "--zones=${opt[zone]:-}")
    [[ -n ${opt[zone]:-} ]] || where=("--filter=name=(${wanted//,/ } $master_type) AND zone~$(wanted_region)-")
    known=$(look "Listing the machine types" compute machine-types list "${where[@]}" '--format=value(name,guestCpus)') || return 1
    printf '%s\n' "$known" >"$scratch/machine-types"
    if [[ -z $known ]]; then
        printf 'error|%s has none of the machine types %s, or is no place: see gcloud compute zones list\n' "${opt[zone]:-$(wanted_region)}" "${wanted//,/ } $master_type"
        return 0
    fi
    for type in ${wanted//,/ } "$master_type"; do
        [[ -n $(cpus_of "$type") ]] ||
            printf 'error|there is no machine type %s in %s: see gcloud compute machine-types list\n' "$type" "${opt[zone]:-$(wanted_region)}"
    done
    [[ $wanted != *,* || -n ${opt[region]:-} ]] || printf 'warn|only a --region takes several machine types; in a zone the first is used.\n'
}

cpus_of() {
    awk -v type="$1" '$1 == type { print $2; exit }' "$scratch/machine-types"
}

# What the quotas are; judge_quotas says what that means.
check_quotas() {
    local code=0 tolerated=$NOT_FOUND region
    region=$(wanted_region)
    look "Reading the quotas of $region" compute regions describe "$region" '--format=json(quotas)' >"$scratch/quotas" &
    look "Reading the quotas of $project" compute project-info describe '--format=json(name,quotas)' >"$scratch/quotas-of-project" || code=$?
    wait "$!" || code=$?
    # A place that does not exist has no machine types either.
    ((code == 0 || code == NOT_FOUND))
}

# The quotas leave room for what is to come; what is there is in use already.
judge_quotas() {
    local workers=${opt[workers]:-2} there masters most type=${opt[machine-type]:-e2-standard-4}
    local cpus master_cpus master_type=${opt[master-machine-type]:-e2-standard-2}
    type=${type%%,*}
    [[ -s $scratch/quotas && -s $scratch/quotas-of-project && -s $scratch/machine-types ]] || return 0
    cpus=$(cpus_of "$type") master_cpus=$(cpus_of "$master_type")
    [[ -n $cpus && -n $master_cpus ]] || return 0
    most=${opt[max-workers]:-$workers}
    there=$(rows instance | grep -c '|worker|') || true
    masters=$(rows instance | grep -c '|master|') || true
    helper quota "--region=$(wanted_region)" "--quotas=$scratch/quotas" "--quotas-of-project=$scratch/quotas-of-project" -- \
        "workers=$((workers > there ? workers - there : 0))" "most=$((most > there ? most - there : 0))" \
        "masters=$((masters ? 0 : 1))" "worker_type=$type" "worker_cpus=$cpus" "master_type=$master_type" "master_cpus=$master_cpus" \
        "spot=$([[ -n ${opt[on-demand]:-} ]] || printf yes)" "disk_gib=${opt[disk-size]:-50}"
}

# An image is there, and says which Python it was baked with.
check_image() {
    local image told there=${opt[python]:-3.11} kind=describe code=0 tolerated=$NOT_FOUND
    [[ -n ${opt[image]:-} ]] || return 0
    image=$(image_path)
    image=${image#projects/}
    [[ $image != */family/* ]] || kind=describe-from-family
    # The project of an image may be another one.
    told=$(project=${image%%/*} look "Looking at the image ${opt[image]}" compute images "$kind" "${image##*/}" \
        '--format=value[separator="|"](labels.mrcore-python,diskSizeGb)') || code=$?
    if ((code == NOT_FOUND)); then
        printf 'error|there is no image %s: bake one with mrcore gce image, or see gcloud compute images list --project=%s\n' "${opt[image]}" "${image%%/*}"
        return 0
    fi
    ((code == 0)) || return 1
    local label=${told%%|*} size=${told#*|}
    label=${label/-/.} # labels hold no dots
    if [[ -n $label && $label != "$there" ]]; then
        printf 'error|the image %s was baked with Python %s, and %s is what the VMs should have: run mrcore with Python %s and say --python %s, or bake another image.\n' \
            "${opt[image]}" "$label" "$there" "$label" "$label"
    elif [[ $size =~ ^[0-9]+$ ]] && ((size > ${opt[disk-size]:-50})); then
        printf 'error|the image %s needs a disk of %s GB: say --disk-size %s or more.\n' "${opt[image]}" "$size" "$size"
    else
        printf 'ok|image %s\n' "${opt[image]}"
    fi
}

# Accounts of one's own are there, as far as one may see that.
check_accounts() {
    local role account code
    for role in master worker; do
        account=${opt[service-account-$role]:-}
        [[ -n $account ]] || continue
        code=0
        tolerated="$NOT_FOUND $UNSEEN" look "Looking at the account $account" iam service-accounts describe "$account" \
            '--format=value(email)' >/dev/null 2>&1 || code=$?
        ((code != NOT_FOUND && code != UNSEEN)) ||
            printf 'error|there is no service account %s: check --service-account-%s.\n' "$account" "$role"
    done
}

# The bucket is there, near, and does not keep what is deleted.
check_bucket() {
    local bucket told region code=0 tolerated=$NOT_FOUND
    region=$(wanted_region)
    bucket=$(bucket_of "$home")
    told=$(look "Looking at the bucket $bucket" storage buckets describe "$bucket" --raw --format=json) || code=$?
    if ((code == NOT_FOUND)); then
        printf 'error|there is no bucket %s: make it with: gcloud storage buckets create %s --project=%s --location=%s --uniform-bucket-level-access --soft-delete-duration=0\n' "$bucket" "$bucket" "$project" "$region"
        return 0
    fi
    ((code == 0)) || return 1
    ! dry || return 0
    helper bucket "--region=$region" "--bucket=$bucket" "--iam=$([[ -n ${opt[service-account-worker]:-} ]] || printf yes)" \
        "--cross-region=${opt[cross-region]:-}" <<<"$told"
}

# Buckets of others, which the VMs are to use as well, are open to them, or can be opened.
judge_buckets() {
    local uri bucket told=''
    local -a asked=()
    # Who has accounts of their own sees to what these may do.
    [[ -z ${opt[service-account-worker]:-} && -s $scratch/token ]] || return 0
    while IFS= read -r uri; do
        bucket=$(bucket_of "${uri#*=}")
        [[ $uri == *=gs://* && $bucket != "$(bucket_of "$home")" && " ${shared_buckets[*]} " != *" $bucket "* ]] || continue
        [[ $told == *" ${uri%%=*}=$bucket "* ]] || asked+=("${uri%%=*}=$bucket")
        told+=" ${uri%%=*}=$bucket "
    done < <(fact input | sed 's/^/reads=/'; { fact written; fact temporary; } | sed 's/^/writes=/'
        printf 'reads=%s\n' "${job_inputs[@]}"; printf 'writes=%s\n' "${job_outputs[@]}")
    ((${#asked[@]} == 0)) || MRCORE_GCE_TOKEN=$(<"$scratch/token") helper shared "--account=$(account worker)" -- "${asked[@]}"
}

# VMs without an external address reach Google's services by the subnet's Private Google Access alone.
check_subnet() {
    local region subnet=${opt[subnet]:-${opt[network]:-default}} access code=0 tolerated=$NOT_FOUND
    region=$(wanted_region)
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
    local type=${opt[machine-type]:-e2-standard-4} provisioning=spot workers=${opt[workers]:-2} reduces
    reduces=$(fact reduces)
    [[ -z ${opt[on-demand]:-} ]] || provisioning=standard
    # A group that is empty at first is grown for the work.
    ((workers > 0)) || workers=${opt[max-workers]}
    "$python" -P -m mrcore.cost estimate "--input-bytes=$(fact input_bytes | grep . || echo 0)" \
        "--input-files=$(fact input_files | grep . || echo 0)" "--workers=$workers" \
        "--machine-type=$type" "--master-type=${opt[master-machine-type]:-e2-standard-2}" "--disk-gib=${opt[disk-size]:-50}" \
        "--provisioning=$provisioning" "--region=$(wanted_region)" ${reduces:+"--reduces=$reduces"} "$@"
}
