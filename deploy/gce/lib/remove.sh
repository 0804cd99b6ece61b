# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# Removing a cluster, whatever is left of it. Sourced by main.sh.

readonly removal_rounds=5

# remove_cluster: delete machines, groups, templates and firewalls until the cloud shows none, then
# objects and bindings. May be interrupted and repeated at any point: of the objects the record goes
# last, and after it the bindings in the project, which tell where the home was.
remove_cluster() {
    local round row
    for ((round = 1; round <= removal_rounds; round++)); do
        look_once || return 1
        looked=''
        if dry; then
            plan_of_removal
            break
        fi
        [[ -n $inventory ]] || break
        remove_machines
        remove_parts
    done
    if [[ -n $inventory ]] && ! dry; then
        say "left of $name: $(cut -d '|' -f 2 <<<"$inventory" | paste -sd ' '); run again: $(removal_command)"
        return 1
    fi
    remove_rest
}

# What no machine tells of.
remove_rest() {
    local present=
    if [[ -n ${c[manage_iam]:-} ]]; then
        present=$(list_bindings) || return 1
        # Those that would have been made by then.
        ! dry || [[ -z ${c[name]:-} ]] || present=$(wanted_bindings)
    fi
    remove_bindings gs:// || return 1
    if dry; then
        printf '# Then all objects below %s are deleted.\n' "${home:-its home}"
    elif [[ -n $home ]]; then
        helper clear "--home=$home" >/dev/null || return 1
    fi
    remove_bindings projects/
}

# Groups with their VMs, and VMs that belong to none, at the same time.
remove_machines() {
    local row group members
    local -a jobs=()
    members=$(rows group | cut -d '|' -f 2)
    while IFS= read -r row; do
        [[ -z $row ]] || jobs+=("remove_group ${row@Q}")
    done < <(rows group)
    while IFS= read -r row; do
        [[ -n $row ]] || continue
        group=$(field 2 "$row")
        group=${group%-*}
        # Members go with their group.
        [[ $'\n'$members$'\n' != *$'\n'$group$'\n'* ]] || continue
        jobs+=("remove_instance ${row@Q}")
    done < <(rows instance)
    ((${#jobs[@]} == 0)) || together "${jobs[@]}" || true
}

remove_group() {
    local place
    place=$(field 3 "$1")
    # Zones end in a letter of their own, regions in a number.
    if [[ $place == *-[a-z] ]]; then place=--zone=$place; else place=--region=$place; fi
    gone change "Deleting the group $(field 2 "$1")" compute instance-groups managed delete "$(field 2 "$1")" "$place"
}

remove_instance() {
    gone change "Deleting $(field 2 "$1")" compute instances delete "$(field 2 "$1")" "--zone=$(field 3 "$1")" --delete-disks=all
}

# What no machine needs any more.
remove_parts() {
    local row
    local -a jobs=()
    while IFS= read -r row; do
        [[ -z $row ]] || jobs+=("remove_part instance-templates $(field 2 "$row")")
    done < <(rows template)
    while IFS= read -r row; do
        [[ -z $row ]] || jobs+=("remove_part firewall-rules $(field 2 "$row")")
    done < <(rows firewall)
    ((${#jobs[@]} == 0)) || together "${jobs[@]}" || true
}

remove_part() {
    gone change "Deleting $2" compute "$1" delete "$2"
}

# remove_bindings START: those of `present` on resources that begin so.
remove_bindings() {
    local resource member role title expression description
    while IFS=$'\t' read -r resource member role title expression description; do
        [[ $resource == "$1"* ]] || continue
        remove_binding "$resource" "$member" "$role" "$title" "$expression" "$description" || return 1
    done <<<"$present"
}

# What a removal consists of when all parts are there.
plan_of_removal() {
    local place=${opt[region]:+--region=${opt[region]}}
    place=${place:---zone=${opt[zone]:-ZONE}}
    change "" compute instance-groups managed delete "mrcore-$name-spot" "$place"
    change "" compute instance-groups managed delete "mrcore-$name-standard" "$place"
    change "" compute instances delete "mrcore-$name-master" "--zone=${opt[zone]:-ZONE}" --delete-disks=all
    change "" compute instance-templates delete "mrcore-$name-spot-HASH"
    change "" compute instance-templates delete "mrcore-$name-standard-HASH"
    change "" compute firewall-rules delete "mrcore-$name-internal"
    change "" compute firewall-rules delete "mrcore-$name-iap"
}

removal_command() {
    quoted mrcore gce down --yes "--project=$project" "--name=$name" ${home:+"--home=$home"}
}
