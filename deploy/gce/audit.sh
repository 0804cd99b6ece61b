#!/usr/bin/env bash
# List all that mrcore has in the project: VMs, groups, templates and firewall rules of clusters, the
# bindings of their accounts, their homes in buckets, and baked images. Accounts and roles stay in a
# project, cost nothing and open nothing without a binding; they are not listed.
#
#   mrcore gce audit [--name NAME] [--bucket BUCKET] [--json]
#
#   --bucket BUCKET  look for homes there, too; those that bindings tell of are found anyway
#
# Verdicts: `live` and `kept` may stay; `expired` is what `mrcore gce gc` removes; an `orphan` does not
# say when it expires, and goes with `mrcore gce down --name NAME`.
#
# Exit codes: 0 all of it belongs to clusters that have not expired (with --name: nothing is left),
# 1 something should not be there.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "" strict "$@"
    settle_place
    [[ -z ${opt[name]:-} ]] || settle_name
    # It reads only, whatever it was told.
    unset 'opt[dry-run]'
    take_inventory "${opt[name]:-}" && take_traces "${opt[name]:-}" || exit 1
    if [[ -z ${opt[name]:-} ]]; then
        inventory+=$'\n'$(list_images) || exit 1
    fi
    local row now left=0 table='' state expires
    printf -v now '%(%s)T' -1
    while IFS= read -r row; do
        [[ -n $row ]] || continue
        expires=$(field 7 "$row")
        state=$(verdict "$row" "$expires" "$now")
        [[ $state =~ ^(live|kept)$ && -z ${opt[name]:-} ]] || left=1
        [[ -z $expires ]] || as_json || printf -v expires '%(%F %H:%M)T' "$expires" 2>/dev/null || expires='?'
        table+="$(field 9 "$row")|$(field 1 "$row")|$(field 2 "$row")|$(field 3 "$row")|$(field 4 "$row")|$(field 8 "$row")|$expires|$state"$'\n'
    done <<<"$inventory"
    table=$(sort <<<"${table%$'\n'}")
    if as_json; then
        { [[ -z $table ]] || printf '%s\n' "$table"; } | json_rows cluster kind name place state owner expires verdict
        printf '\n'
    elif [[ -n $table ]]; then
        print_table 'CLUSTER|KIND|NAME|PLACE|STATE|OWNER|EXPIRES|VERDICT' <<<"$table"
    else
        say "mrcore has nothing in project $project."
    fi
    return "$left"
}

# verdict ROW EXPIRES NOW: `live`, `kept`, `orphan` or `expired`.
verdict() {
    if [[ $1 == image\|* ]]; then
        printf kept
    elif [[ ! $2 =~ ^[0-9]+$ ]]; then
        printf orphan
    elif (($(latest_expiry "$(field 9 "$1")") < $3)); then
        printf expired
    else
        printf live
    fi
}
