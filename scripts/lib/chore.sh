# shellcheck shell=bash
# Sourced first by every chore: strict mode, the checkout as the folder, and `--help`, which prints
# the comment at the head of the chore.

set -euo pipefail

chore_name="$(basename "$0")"

# Say why the chore stops, and stop: 2 is for what the caller can put right.
die() {
    printf '%s: %s\n' "$chore_name" "$1" >&2
    exit "${2:-2}"
}

# Print the comment at the head of the chore.
usage() {
    awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
}

case "${1:-}" in
-h | --help)
    usage
    exit 0
    ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
