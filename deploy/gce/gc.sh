#!/usr/bin/env bash
# Remove your clusters of the project that have expired, with all that they have left: VMs, groups,
# templates, firewall rules, bindings, and the objects of their homes. A cluster expires an hour after
# Compute Engine has deleted its last VM (--max-run-duration); its bindings are void from then on.
#
#   mrcore gce gc [--all] [--bucket BUCKET] [--dry-run] [--yes]
#
#   --all            those of everybody; else others' are only told of
#   --bucket BUCKET  look for homes there, too; those that bindings tell of are found anyway
#   --dry-run        look, and print the commands that would remove them
#
# What does not say when it expires is no business of gc: `mrcore gce audit` shows it, and `mrcore gce
# down --name NAME` removes it. May be interrupted, repeated, and run twice at a time.
#
# Exit codes: 0 nothing of yours that has expired is left, 1 something could not be removed.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "all " strict "$@"
    settle_place
    local telling=${opt[dry-run]:-} now cluster latest owner me whose expired='' failed=0
    # A plan is made of what there is, and to look changes nothing.
    unset 'opt[dry-run]'
    take_inventory && take_traces || exit 1
    printf -v now '%(%s)T' -1
    me=$(owner_label)
    while IFS= read -r cluster; do
        [[ -n $cluster ]] || continue
        latest=$(latest_expiry "$cluster")
        ((latest > 0 && latest < now)) || continue
        owner=$(owner_of "$cluster")
        if [[ -n ${opt[all]:-} || ${owner:-$me} == "$me" ]]; then
            expired+=" $cluster"
        else
            say "$cluster has expired, and is $owner's: ask them, or say --all."
        fi
    done < <(cut -d '|' -f 9 <<<"$inventory" | sort -u)
    if [[ -z $expired ]]; then
        if [[ -n ${opt[all]:-} ]]; then whose=; else whose=" of yours"; fi
        say "nothing$whose in project $project has expired."
        return 0
    fi
    [[ -n $telling ]] || confirm "Remove what has expired:$expired?"
    for cluster in $expired; do
        remove_expired "$cluster" || failed=1
    done
    return "$failed"
}

# remove_expired CLUSTER: in a process of its own, since options and record are those of one cluster.
remove_expired() {
    local at
    local -a words=(down --yes "--project=$project" "--name=$1")
    at=$(awk -F '|' -v cluster="$1" '$1 == "home" && $9 == cluster { print $2; exit }' <<<"$inventory")
    if [[ -n $at ]]; then
        words+=("--home=$at")
    elif [[ -n ${opt[bucket]:-} ]]; then
        words+=("--bucket=${opt[bucket]}")
    fi
    if [[ -n $telling ]]; then
        quoted mrcore gce "${words[@]}"
        return 0
    fi
    bash "$gce/main.sh" "${words[@]}"
}
