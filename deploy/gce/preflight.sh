#!/usr/bin/env bash
# Find what would go wrong before anything is made: gcloud, login, APIs, permissions, quotas, bucket,
# network, Python and, with a job, its plugin, inputs and output.
#
#   mrcore gce preflight [PLUGIN INPUT...] -o gs://BUCKET/OUT [OPTION...]
#
# Options are those of `mrcore gce run`. --json prints the findings as JSON. Nothing is changed.
#
# Exit codes: 0 it would work, 2 something has to be put right first.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
main() {
    take_options "$cluster_values receipt " "$cluster_flags keep " job "$@"
    settle_place
    name=${opt[name]:-preflight}
    settle_home
    [[ -n $home ]] || die "which bucket? Give --bucket, or -o gs://BUCKET/OUT."
    check_options
    [[ -z ${opt[input]:-} ]] || job_inputs=("${opt[input]}")
    [[ -z ${opt[output]:-} ]] || job_outputs=("${opt[output]%/}/")
    local -a also=()
    local failed=0 kind sentence
    # -o and its value may be all there is.
    ((${#job[@]} <= 2)) || also=(check_job)
    if dry; then
        printf '# A preflight reads only.\n'
        return 0
    fi
    collect_findings "${also[@]}"
    [[ $'\n'$findings != *$'\n''error|'* ]] || failed=2
    if as_json; then
        grep . <<<"$findings" | json_rows kind message
        printf '\n'
        return "$failed"
    fi
    while IFS='|' read -r kind sentence; do
        case $kind in
        ok) printf 'ok     %s\n' "$sentence" ;;
        warn) printf 'mind   %s\n' "$sentence" ;;
        error) printf 'WRONG  %s\n' "$sentence" ;;
        esac
    done <<<"$findings"
    return "$failed"
}
