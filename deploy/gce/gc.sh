#!/usr/bin/env bash
# Remove every cluster of the project that has expired: all its parts tell when that is. A cluster
# expires an hour after Compute Engine has deleted its last VM (--max-run-duration).
#
#   mrcore gce gc [--dry-run] [--yes]
#
# Exit codes: 0 nothing that has expired is left, 1 something could not be removed.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "" strict "$@"
    settle_place
    if dry; then
        printf '# Every cluster of project %s that has expired would be removed, as by mrcore gce down.\n' "$project"
        return 0
    fi
    take_inventory || exit 1
    local now cluster latest expired='' failed=0
    printf -v now '%(%s)T' -1
    while IFS= read -r cluster; do
        [[ -n $cluster ]] || continue
        latest=$(latest_expiry "$cluster")
        ((latest >= now)) || expired+=" $cluster"
    done < <(cut -d '|' -f 9 <<<"$inventory" | sort -u)
    if [[ -z $expired ]]; then
        say "nothing in project $project has expired."
        return 0
    fi
    confirm "Remove what has expired:$expired?"
    for cluster in $expired; do
        # In a process of its own: options and record are those of one cluster.
        bash "$gce/main.sh" down --yes "--project=$project" "--name=$cluster" ${opt[bucket]:+"--bucket=${opt[bucket]}"} || failed=1
    done
    return "$failed"
}
