# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# Words for people, and text for programs. Sourced by main.sh.

# Say one thing to a person.
say() {
    # Whether anybody can read it or not: a run goes on, and its VMs are removed at its end.
    printf 'mrcore gce: %s\n' "$*" >&2 2>/dev/null || true
}

# Say why the command stops, and stop: 2 is for what the caller can put right.
die() {
    say "$1"
    exit "${2:-2}"
}

dry() {
    [[ -n ${opt[dry-run]:-} ]]
}

as_json() {
    [[ -n ${opt[json]:-} ]]
}

# A command as one could paste it.
quoted() {
    local word line=
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@%+,^-]+$ ]]; then
            line+=" $word"
        else
            line+=" ${word@Q}"
        fi
    done
    printf '%s\n' "${line# }"
}

# Text as a JSON string.
json_text() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\t'/\\t}
    text=${text//$'\n'/\\n}
    text=${text//[[:cntrl:]]/ }
    printf '"%s"' "$text"
}

# JSON objects, one a line of stdin with fields between `|`; the arguments name the fields. The last
# one is all that is left, `|` and all.
json_rows() {
    local i row value line=
    printf '['
    while IFS= read -r row; do
        printf '%s{' "$line"
        for ((i = 1; i <= $#; i++)); do
            value=$row
            ((i == $#)) || value=${row%%|*}
            [[ $row == *'|'* ]] && row=${row#*|} || row=
            ((i == 1)) || printf ', '
            printf '%s: %s' "$(json_text "${!i}")" "$(json_text "$value")"
        done
        printf '}'
        line=', '
    done
    printf ']'
}

# Rows of stdin, with fields between `|`, as a table under the names given.
print_table() {
    local names=$1
    { printf '%s\n' "$names"; cat; } | column -t -s '|'
}

# Ask before something is destroyed; --yes answers, and so does not being on a terminal: with no.
confirm() {
    [[ -z ${opt[yes]:-} ]] || return 0
    dry && return 0
    [[ -t 0 ]] || die "$1 Add --yes to do it without a question."
    local answer
    read -r -p "mrcore gce: $1 [y/N] " answer
    [[ $answer == [yY]* ]] || die "nothing was done." 1
}
