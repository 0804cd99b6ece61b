#!/usr/bin/env bash
# Let a cluster have up to N workers. Its master makes and releases them by the work there is; with
# --min-workers it keeps so many also without work. It takes note within seconds.
#
#   mrcore gce scale N --name NAME [--min-workers M]

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options " min-workers " "" strict "$@"
    local -a changes=()
    is_count "${rest[0]:-}" || die "how many workers? Write mrcore gce scale N --name NAME."
    changes=("max_workers=${rest[0]}")
    rest=("${rest[@]:1}")
    if [[ -n ${opt[min-workers]:-} ]]; then
        if ! is_count "${opt[min-workers]}" || ((opt[min-workers] > ${changes[0]#*=})); then
            die "--min-workers ${opt[min-workers]} is no number up to ${changes[0]#*=}."
        fi
        changes+=("min_workers=${opt[min-workers]}")
    fi
    settle_place
    settle_name "${rest[0]:-}"
    settle_home
    [[ -n $home ]] || die "there is no cluster $name in project $project; see: mrcore gce audit"
    if dry; then
        printf '# %s is written to %s/cluster.json; no gcloud command.\n' "${changes[*]}" "$home"
        return 0
    fi
    read_record set "--home=$home" "${changes[@]}" || exit 2
    say "$name may have ${c[min_workers]} to ${c[max_workers]} workers."
}
