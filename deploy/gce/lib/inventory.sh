# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# What the cloud has: the truth about a cluster. Sourced by main.sh.
#
# Rows of `KIND|NAME|PLACE|STATE|MACHINE|ROLE|EXPIRES|OWNER|CLUSTER`. PLACE is a zone, a region or empty.

readonly all_kinds=(instance template group firewall)

# take_inventory [CLUSTER]: fill `inventory` with what there is of one cluster, or of all.
take_inventory() {
    inventory=''
    local -a listings=()
    plan_listings "${1:-}"
    if dry; then
        together "${listings[@]}"
    elif ! together "${listings[@]}"; then
        # One cause makes all of them fail.
        awk -F ' failed: ' '!told[NF > 1 ? $2 : $0]++' "$scratch/words-listings" >&2
        return 1
    fi
    read_listings
    looked=${1:-}
}

# look_once: fill `inventory` for the cluster, unless that has been done and nothing was changed since.
look_once() {
    [[ -n $looked && $looked == "$name" && ! -e $scratch/changed ]] || take_inventory "$name"
}

# plan_listings [CLUSTER]: add to `listings` what `together` is to do for read_listings. What they say
# goes to a file; what we say to an interruption meanwhile must not.
plan_listings() {
    local kind of=${1:-}
    : >"$scratch/words-listings"
    rm -f "$scratch/changed"
    for kind in "${all_kinds[@]}"; do
        listings+=("list_${kind}s ${of@Q} >${scratch@Q}/list-$kind 2>>${scratch@Q}/words-listings")
    done
}

# Fill `inventory`, and `told_home` with the home that the machines were told.
read_listings() {
    inventory=$(cd "$scratch" && cat "${all_kinds[@]/#/list-}")
    told_home=$(sed -n 's/^\(instance\|template\)|\([^|]*|\)\{8\}\(gs:.*\)$/\3/p' <<<"$inventory" | head -n 1)
    inventory=$(cut -d '|' -f 1-9 <<<"$inventory")
}

# take_traces [CLUSTER]: add to `inventory` what outlives the machines of one cluster, or of all: the
# bindings of accounts in the project, and homes in buckets, those that bindings tell of and all in
# --bucket. To be called after take_inventory.
take_traces() {
    local of=${1:-} policy known found bucket=${opt[bucket]:-${MRCORE_GCE_BUCKET:-}} home expires owner cluster
    local -a places=()
    # Who may not see the policy is told so, and what else there is.
    policy=$(policy_of_project) || policy=
    known=$(helper clusters-in <<<"$policy") || return 1
    while IFS='|' read -r home expires owner cluster; do
        [[ -n $home && ( -z $of || $cluster == "$of" ) ]] || continue
        places+=("$home")
        inventory+=$'\n'"bindings|$project||||project|$expires|$owner|$cluster"
    done <<<"$known"
    bucket=${bucket#gs://}
    [[ -z $bucket ]] || places+=("gs://${bucket%/}")
    ((${#places[@]})) || return 0
    found=$(helper homes "--project=$project" "${places[@]}") || return 1
    while IFS='|' read -r home expires owner cluster; do
        # Met twice, by the bindings and in --bucket, it is one home all the same.
        [[ $'\n'$inventory != *$'\n'"home|$home|"* ]] || continue
        [[ -z $home || -n $of && $cluster != "$of" ]] || inventory+=$'\n'"home|$home||||bucket|$expires|$owner|$cluster"
    done <<<"$found"
}

# owner_of CLUSTER: whose it is; nothing where no part of it says.
owner_of() {
    awk -F '|' -v cluster="$1" '$9 == cluster && $8 != "" { print $8; exit }' <<<"$inventory"
}

# latest_expiry CLUSTER: when all that the inventory has of it has expired. What was made by an earlier
# `up` may tell of an earlier end; the last one holds for all.
latest_expiry() {
    awk -F '|' -v cluster="$1" '$9 == cluster && $7 ~ /^[0-9]+$/ && $7 + 0 > latest { latest = $7 + 0 } END { print latest + 0 }' <<<"$inventory"
}

# Images belong to no cluster, and stay until they are deleted by hand.
list_images() {
    look "Listing the images" compute images list --no-standard-images '--filter=labels.mrcore-image:*' \
        --format='value[separator="|"](name,kind.basename(),status,kind.basename(),kind.basename(),kind.basename(),labels.mrcore-owner,kind.basename())' |
        sed 's/^/image|/; s/compute#image//g'
}

list_instances() {
    local filter="labels.mrcore:*"
    [[ -z $1 ]] || filter="labels.mrcore=$1"
    look "Listing the VMs" compute instances list "--filter=$filter" \
        --format='value[separator="|"](name,zone.basename(),status,machineType.basename(),labels.mrcore-role,labels.mrcore-expires,labels.mrcore-owner,labels.mrcore,metadata.items.filter("key:mrcore-home").map().firstof("value").list())' |
        sed 's/^/instance|/'
}

list_templates() {
    local filter="properties.labels.mrcore:*"
    [[ -z $1 ]] || filter="properties.labels.mrcore=$1"
    look "Listing the instance templates" compute instance-templates list "--filter=$filter" \
        --format='value[separator="|"](name,region.basename(),kind.basename(),properties.machineType,properties.labels.mrcore-role,properties.labels.mrcore-expires,properties.labels.mrcore-owner,properties.labels.mrcore,properties.metadata.items.filter("key:mrcore-home").map().firstof("value").list())' |
        sed 's/^/template|/; s/|compute#instanceTemplate|/||/'
}

list_groups() {
    look "Listing the instance groups" compute instance-groups managed list \
        "--filter=name~\"^mrcore-${1:-.*}-(spot|standard)\$\"" \
        --format='value[separator="|"](name,zone.basename(),region.basename(),targetSize,instanceTemplate.basename(),description)' |
        described_rows group "$1"
}

list_firewalls() {
    look "Listing the firewall rules" compute firewall-rules list \
        "--filter=name~\"^mrcore-${1:-.*}-(internal|iap)\$\"" \
        --format='value[separator="|"](name,kind.basename(),kind.basename(),direction,kind.basename(),description)' |
        sed 's/compute#firewall//g' | described_rows firewall "$1"
}

# Rows of things that take no labels: what these would say stands in the description.
described_rows() {
    local kind=$1 of=$2 row_name zone region state machine description
    while IFS='|' read -r row_name zone region state machine description; do
        [[ -n $(said mrcore "$description") ]] || continue
        [[ -z $of || $(said mrcore "$description") == "$of" ]] || continue
        printf '%s|%s|%s|%s|%s|%s|%s|%s|%s\n' "$kind" "$row_name" "${zone:-$region}" "$state" \
            "$machine" "$(said mrcore-role "$description")" "$(said mrcore-expires "$description")" \
            "$(said mrcore-owner "$description")" "$(said mrcore "$description")"
    done
}

# said KEY DESCRIPTION: the value of `KEY=VALUE` in a description.
said() {
    local word
    for word in $2; do
        [[ $word != "$1="* ]] || printf '%s' "${word#*=}"
    done
}

# have KIND NAME: whether the inventory has it; sets `found` to its row.
have() {
    found=$(grep -m 1 -F -- "$1|$2|" <<<"$inventory") && [[ $found == "$1|$2|"* ]]
}

# rows KIND: the rows of one kind.
rows() {
    grep "^$1|" <<<"$inventory" || true
}

# field N ROW: one field of a row; 1 is the kind.
field() {
    cut -d '|' -f "$1" <<<"$2"
}

# Fill `told_home` with the home that the cluster was given, for a command that was not told it: by its
# machines and templates, or when these are gone by the bindings of its accounts.
ask_machines() {
    dry && return 0
    look_once || return 1
    told_home=${told_home:-$(home_by_bindings)}
}

# The policy of the project, as JSON.
policy_of_project() {
    look "Reading the policy of $project" projects get-iam-policy "$project" --format=json
}

# The home that the bindings of a cluster's accounts tell of; nothing where we may not see any.
home_by_bindings() {
    local policy
    policy=$(policy_of_project 2>/dev/null) || return 0
    helper clusters-in <<<"$policy" | awk -F '|' -v name="$name" '$4 == name { printf "%s", $1 }'
}
