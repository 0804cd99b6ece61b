#!/usr/bin/env bash
# List all that mrcore has in the project: VMs, groups, templates and firewall rules of clusters, and
# baked images. Accounts and roles stay in a project and cost nothing; they are not listed.
#
#   mrcore gce audit [--name NAME] [--json]
#
# Exit codes: 0 all of it belongs to clusters that have not expired (with --name: nothing is left),
# 1 something should not be there; `mrcore gce gc` or `down` removes it.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "" "" strict "$@"
    settle_place
    [[ -z ${opt[name]:-} ]] || settle_name
    take_inventory "${opt[name]:-}" || exit 1
    if [[ -z ${opt[name]:-} ]]; then
        inventory+=$'\n'$(list_images) || exit 1
    fi
    local row now left=0 table='' state expires
    printf -v now '%(%s)T' -1
    while IFS= read -r row; do
        [[ -n $row ]] || continue
        expires=$(field 7 "$row")
        state=live
        if [[ $row == image\|* ]]; then
            state=kept
        elif [[ ! $expires =~ ^[0-9]+$ ]]; then
            state=orphan
        elif (($(latest_expiry "$(field 9 "$row")") < now)); then
            state=expired
        fi
        [[ $state =~ ^(live|kept)$ && -z ${opt[name]:-} ]] || left=1
        [[ -z $expires ]] || as_json || printf -v expires '%(%F %H:%M)T' "$expires" 2>/dev/null || expires='?'
        table+="$(field 9 "$row")|$(field 1 "$row")|$(field 2 "$row")|$(field 3 "$row")|$(field 4 "$row")|$(field 8 "$row")|$expires|$state"$'\n'
    done <<<"$inventory"
    table=$(sort <<<"${table%$'\n'}")
    if dry; then
        printf '# An audit reads only.\n'
    elif as_json; then
        { [[ -z $table ]] || printf '%s\n' "$table"; } | json_rows cluster kind name place state owner expires verdict
        printf '\n'
    elif [[ -n $table ]]; then
        print_table 'CLUSTER|KIND|NAME|PLACE|STATE|OWNER|EXPIRES|VERDICT' <<<"$table"
    else
        say "mrcore has nothing in project $project."
    fi
    return "$left"
}
