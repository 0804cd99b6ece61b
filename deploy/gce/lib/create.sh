# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# Making what a cluster consists of. Each step may be repeated, and does nothing where the thing is
# there already: an interrupted `up` is finished by the next one. Sourced by main.sh.

readonly all_roles="mrcoreFleet mrcoreAgent mrcoreObjectReader mrcoreObjectCreator mrcoreObjectWriter"

# make_cluster: from the options to machines that start. The record comes first, so that whatever
# happens later can be found and removed.
make_cluster() {
    look_once || return 1
    check_home || exit 2
    open_record || exit 2
    # What no policy can hold is found before there is a VM.
    [[ -z ${c[manage_iam]} ]] || wanted_bindings >/dev/null || exit 2
    dry || tell_plan
    together upload_payload make_accounts "make_firewall internal" "make_firewall iap" || return 1
    # The digest of the payload was found out by a process of its own.
    dry || read_record show "--home=$home" || return 1
    # Workers and master start together; workers wait for the leader object, and all VMs for what they
    # may do: that spreads slowly, so they try for minutes anyway.
    together bind_accounts "make_pool spot" "make_pool standard" make_master
}

# One sentence on what is going to be there.
tell_plan() {
    local model=spot
    [[ ${c[provisioning]} == spot ]] || model=on-demand
    if have instance "mrcore-$name-master"; then
        say "the cluster $name is there; making what it lacks …"
    else
        say "making the cluster $name in ${c[location]#*/}: a master (${c[master_machine_type]}) and ${c[workers]} $model workers ($(first_type)), up to ${c[max_workers]} …"
    fi
}

# One name, one cluster: its machines know one home, and another would tear it apart.
check_home() {
    # One whose machines are gone has a home all the same.
    [[ -n $inventory ]] || told_home=${told_home:-$(home_by_bindings)}
    [[ -z $told_home || $told_home == "$home" ]] && return 0
    say "the cluster $name has its home at $told_home, not at $home: say --home $told_home, or choose another --name."
    return 1
}

# Wheels, units and scripts go to the bucket, unless the cluster that is there has them already.
upload_payload() {
    if dry; then
        printf '# The wheels are resolved and uploaded to %s/wheels, the units and scripts to %s/payload;\n' "${c[home]}" "${c[home]}"
        printf '# PAYLOAD_SHA256 stands for the digest of these.\n'
        return 0
    fi
    if [[ -n ${c[payload_sha256]} && -z ${opt[requirements]:-} ]] && have instance "mrcore-$name-master"; then
        return 0
    fi
    local told sha
    say "collecting the wheels for the VMs …"
    told=$(helper wheels "--home=$home" "--machine-type=$(first_type)" \
        "--python=${opt[python]:-3.11}" "--requirements=${opt[requirements]:-}" "--list=$scratch/wheels.sha256" "--store=${opt[wheels]:-}") || return 1
    say "$told."
    sha=$("$python" -P "$deploy/payload.py" --wheels "$scratch/wheels.sha256" ${MRCORE_PRICES:+"--prices=$MRCORE_PRICES"} -o "$scratch/payload.tar.gz") || return 1
    helper put "$scratch/payload.tar.gz" "$home/payload/$sha.tar.gz" || return 1
    helper set "--home=$home" "payload_sha256=$sha" >/dev/null
}

# Accounts and roles of the project are made once and stay. They are there when machines are.
make_accounts() {
    [[ -n ${c[manage_iam]} ]] || return 0
    ! have instance "mrcore-$name-master" || return 0
    local role
    local -a jobs=(make_both_accounts)
    for role in $all_roles; do
        jobs+=("make_role $role")
    done
    together "${jobs[@]}"
}

make_both_accounts() {
    local role accounts
    local -a jobs=()
    accounts=$(look "Listing the service accounts" iam service-accounts list '--format=value(email)') || return 1
    for role in master worker; do
        [[ $accounts == *"$(account "$role")"* ]] || jobs+=("make_account $role")
    done
    ((${#jobs[@]} == 0)) || together "${jobs[@]}"
}

make_account() {
    made change "Making the account mrcore-$1" iam service-accounts create "mrcore-$1" "--display-name=mrcore $1"
}

# A role is made, or brought to what its file says; a deleted one keeps its name for weeks.
make_role() {
    local told wanted code=0 tolerated=$NOT_FOUND file=$deploy/iam/$1.yaml
    told=$(look "Looking at the role $1" iam roles describe "$1" \
        '--format=value[separator="|"](deleted,includedPermissions.list(separator=" "))') || code=$?
    ((code == 0 || code == NOT_FOUND)) || return 1
    if [[ -z $told ]]; then
        made change "Making the role $1" iam roles create "$1" "--file=$file"
        return
    fi
    [[ ${told%%|*} != [Tt]rue ]] || change "Restoring the role $1" iam roles undelete "$1" || return 1
    wanted=$(sed -n 's/^ *- *//p' "$file" | sort | paste -sd ' ')
    [[ $(tr ' ' '\n' <<<"${told#*|}" | sort | paste -sd ' ') == "$wanted" ]] ||
        change "Changing the role $1" iam roles update "$1" "--file=$file"
}

# What the accounts may do, in the project and with objects, for this cluster and until it expires.
#
# Another runner may add to the record meanwhile: what is there is read before the record is, so that
# whatever is there but not wanted has been replaced by something wider, and that comes first.
bind_accounts() {
    [[ -n ${c[manage_iam]} ]] || return 0
    local present wanted resource
    local -a jobs=()
    present=$(list_bindings) || return 1
    dry || read_record show "--home=$home" || return 1
    wanted=$(wanted_bindings) || return 1
    while IFS= read -r resource; do
        [[ -z $resource ]] || jobs+=("bind_in ${resource@Q}")
    done < <(printf '%s\n' "$wanted" "$present" | cut -f 1 | sort -u)
    together "${jobs[@]}"
}

# bind_in RESOURCE: bring the policy of a bucket or of the project from `present` to `wanted`. It is
# replaced whole, so one change comes after the other.
bind_in() {
    local line
    local -a fields
    while IFS= read -r line; do
        [[ $line == "$1"$'\t'* && $'\n'$present$'\n' != *$'\n'"$line"$'\n'* ]] || continue
        IFS=$'\t' read -ra fields <<<"$line"
        add_binding "${fields[@]}" && continue
        [[ $1 == gs://* && $1 != "$(bucket_of "$home")" ]] || return 1
        say "$1 is not yours to open: the VMs can use it as its owner lets them."
    done <<<"$wanted"
    while IFS= read -r line; do
        [[ $line == "$1"$'\t'* && $'\n'$wanted$'\n' != *$'\n'"$line"$'\n'* ]] || continue
        IFS=$'\t' read -ra fields <<<"$line"
        remove_binding "${fields[@]}" || return 1
    done <<<"$present"
}

# add_binding RESOURCE MEMBER ROLE TITLE EXPRESSION DESCRIPTION
add_binding() {
    change_policy "Letting $2 use $1" add-iam-policy-binding "$@"
}

# remove_binding RESOURCE MEMBER ROLE TITLE EXPRESSION DESCRIPTION: one that is not there is fine.
remove_binding() {
    gone change_policy "Taking $3 on $1 from $2" remove-iam-policy-binding "$@"
}

# change_policy WHAT VERB RESOURCE MEMBER ROLE TITLE EXPRESSION DESCRIPTION
change_policy() {
    local -a of=(storage buckets)
    [[ $3 == gs://* ]] || of=(projects)
    patiently change "$1" "${of[@]}" "$2" "${3#projects/}" "--member=$4" "--role=$5" \
        "--condition=$(condition "$6" "$7" "${8:-}")"
}

# A condition as gcloud reads it, with a separator that no field has.
condition() {
    printf '^%%%%^title=%s%%%%expression=%s' "$1" "$2"
    [[ -z $3 ]] || printf '%%%%description=%s' "$3"
}

wanted_bindings() {
    local field
    local -a pairs=()
    for field in "${!c[@]}"; do
        pairs+=("$field=${c[$field]}")
    done
    helper bindings -- "${pairs[@]}"
}

bucket_of() {
    local rest=${1#gs://}
    printf 'gs://%s' "${rest%%/*}"
}

# The bindings that this cluster has, as the helper prints them. Those on buckets of others may be
# hidden from us; its own bucket, and the project, have to be seen where the cluster has a record.
list_bindings() {
    local resource policy
    for resource in ${home:+"$(bucket_of "$home")"} $(for_buckets) "projects/$project"; do
        case $resource in
        gs://*) policy=$(look "Reading the policy of $resource" storage buckets get-iam-policy "$resource" --format=json) ;;
        *) policy=$(policy_of_project) ;;
        esac || {
            [[ -n ${c[name]:-} && $resource != gs://* || $resource == "$(bucket_of "$home")" ]] || continue
            return 1
        }
        ! dry || continue
        helper bindings-in "--resource=$resource" "--name=$name" <<<"$policy" || return 1
    done
}

# Other buckets that the cluster reads or writes.
for_buckets() {
    local uri
    printf '%s\t%s\t%s\t' "${c[inputs]:-}" "${c[outputs]:-}" "${c[temps]:-}" | while IFS= read -r -d $'\t' uri; do
        [[ -z $uri ]] || printf '%s\n' "$(bucket_of "$uri")"
    done | sort -u | grep -vxF -- "$(bucket_of "$home")" || true
}

make_firewall() {
    local rule=mrcore-$name-$1
    local -a what=("--source-tags=mrcore-$name" "--allow=tcp:7077,tcp:9100")
    # 35.235.240.0/20 is Google's proxy for people who may use tunnels.
    [[ $1 == internal ]] || what=("--source-ranges=35.235.240.0/20" "--allow=tcp:22,tcp:7077")
    have firewall "$rule" && return 0
    made change "Making the firewall rule $rule" compute firewall-rules create "$rule" "--network=${c[network]}" \
        --direction=INGRESS "${what[@]}" "--target-tags=mrcore-$name" "--description=$(description master)"
}

# The options of a template, one a line of `template`.
template_options() {
    local -a machine=()
    machine_options worker
    template=("--machine-type=$(first_type)" "${machine[@]}")
    [[ -z ${c[subnet]} ]] || template+=("--region=$(region_of)")
    [[ $1 == standard ]] || template+=(--provisioning-model=SPOT)
}

# A template cannot change, so its name tells what is in it.
template_name() {
    local -a template=()
    template_options "$1"
    printf 'mrcore-%s-%s-%s' "$name" "$1" "$(printf '%s\0' "${template[@]//"$deploy"/}" | sha256sum | cut -c 1-8)"
}

make_template() {
    local -a template=()
    have template "$2" && return 0
    template_options "$1"
    made patiently change "Making the instance template $2" compute instance-templates create "$2" "${template[@]}"
}

# make_pool MODEL: a group of workers, and the template that it makes them by.
make_pool() {
    local template
    template=$(template_name "$1")
    make_template "$1" "$template" && make_group "$1" "$template"
}

make_group() {
    local group=mrcore-$name-$1 size=0 rank=0 type
    local -a where=()
    if have group "$group"; then
        [[ $(field 5 "$found") != "$2" ]] || return 0
        change "Giving $group its new template" compute instance-groups managed set-instance-template "$group" "--template=$2" "$(place_option)"
        return
    fi
    [[ ${c[provisioning]} != "$1" ]] || size=${c[workers]}
    if [[ ${c[location]} == regions/* ]]; then
        where=(--target-distribution-shape=any --instance-redistribution-type=none)
        for type in ${c[machine_types]}; do
            where+=("--instance-selection=name=rank-$rank,machine-type=$type,rank=$rank")
            rank=$((rank + 1))
        done
    fi
    # The master's fleet decides what to replace, so the group must not.
    made patiently change "Making the group $group" compute instance-groups managed create "$group" "$(place_option)" "--template=$2" \
        "--size=$size" --default-action-on-vm-failure=do-nothing "${where[@]}" "--description=$(description worker)"
}

# The master is not a spot VM. One that has stopped (its boot failed, say) is replaced.
make_master() {
    local vm=mrcore-$name-master state
    local -a machine=()
    if have instance "$vm"; then
        state=$(field 4 "$found")
        case $state in
        STOPP* | TERMINATED | SUSPEND*)
            gone change "Deleting the stopped master" compute instances delete "$vm" "--zone=$(field 3 "$found")" || return 1 ;;
        *) return 0 ;;
        esac
    fi
    machine_options master
    made patiently change "Making the master" compute instances create "$vm" "--zone=${c[master_zone]}" "--machine-type=${c[master_machine_type]}" "${machine[@]}"
}
