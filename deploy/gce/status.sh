#!/usr/bin/env bash
# What a cluster consists of, what its groups could not do, and, where the master can be reached,
# its workers and jobs.
#
#   mrcore gce status --name NAME [--json]
#
# Exit codes: 0 its master runs, 1 it does not.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "" strict "$@"
    local code=0 row alive=1
    load_cluster || code=$?
    ((code == 0 || code == NOT_FOUND)) || exit "$code"
    if dry; then
        printf '# A status reads only.\n'
        return 0
    fi
    look_once || exit 1
    if have instance "mrcore-$name-master" && [[ $(field 4 "$found") == RUNNING ]]; then
        alive=0
    fi
    if as_json; then
        grep . <<<"$inventory" | json_rows kind name place state machine role expires owner cluster
        printf '\n'
        return "$alive"
    fi
    if [[ -z $inventory ]]; then
        say "there is no cluster $name in project $project${home:+, though its home may be $home}."
        return 1
    fi
    printf '%s\n' "$inventory" | print_table 'KIND|NAME|PLACE|STATE|MACHINE|ROLE|EXPIRES|OWNER|CLUSTER'
    ((code == 0)) || return "$alive"
    tell_group_errors
    ((alive == 0)) || return 1
    connect
    printf '\n'
    "${mrcore_command[@]}" workers "${master_options[@]}" || return "$alive"
    printf '\n'
    "${mrcore_command[@]}" jobs "${master_options[@]}" || true
}
