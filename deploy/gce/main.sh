#!/usr/bin/env bash
# Make, use and delete VMs on Google Compute Engine.
#
#   mrcore gce COMMAND [OPTION...]        (in a checkout also scripts/gce COMMAND …)
#
#   run PLUGIN INPUT... -o OUT   make a cluster, run a job on it, remove the cluster
#   up                           make a cluster, and leave it up
#   scale N                      let a cluster have up to N workers
#   status                       what a cluster consists of, its workers and jobs
#   ssh [VM]                     a shell on the master, or on another VM
#   logs [VM]                    boot and daemon logs of a VM
#   down                         remove a cluster and all that it has left
#   gc                           remove every cluster that has expired
#   audit                        list all that mrcore has in the project
#   cost                         what a cluster costs, while it is up
#   image                        bake an image with everything installed
#   preflight                    find what would go wrong before anything is made
#
# Options of all commands:
#
#   --project P          project                                   [gcloud's]
#   --zone Z, --region R where the workers are                     [gcloud's zone]
#   --name NAME          name of the cluster
#   --bucket B           bucket of the cluster's home, gs://B/mrcore/NAME
#   --home URI           its home itself                           [from the output, or its VMs]
#   --dry-run            print every gcloud command, those that only read too, and do nothing
#   --yes                do not ask
#   --json               one JSON value on stdout, where there is something to tell
#
# `mrcore gce COMMAND --help` has the options of a command; docs/gce.md the whole story.

# The libraries below share variables with this file:
# shellcheck disable=SC2034
set -euo pipefail

# That of macOS is of 2007.
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
    printf 'mrcore gce: bash %s is too old, 4.4 is needed; install a newer one (macOS: brew install bash).\n' "$BASH_VERSION" >&2
    exit 2
fi

gce=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deploy=${gce%/*}
python=${MRCORE_PYTHON:-$deploy/../.venv/bin/python}
if [[ ! -x $python ]] && { ! python=$(command -v python3) || ! "$python" -P -c 'import mrcore' 2>/dev/null; }; then
    printf 'mrcore gce: there is no Python with mrcore here; run scripts/setup, or install mrcore.\n' >&2
    exit 2
fi

readonly needed_services=(compute.googleapis.com iam.googleapis.com cloudresourcemanager.googleapis.com storage.googleapis.com iap.googleapis.com)

# People who have logged in to gcloud need no second login for buckets.
export MRCORE_GCS_LOGIN=${MRCORE_GCS_LOGIN:-gcloud}

project='' name='' home='' told_home='' inventory='' looked='' found='' findings='' log_file=/dev/null
declare -ga job_inputs=() job_outputs=() job_temps=() children=()

for part in say options cloud inventory cluster create remove connect checks; do
    # shellcheck source=/dev/null
    source "$gce/lib/$part.sh"
done

# The comment at the head of a script.
print_head() {
    awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$1"
}

print_help_of() {
    print_head "$gce/$1.sh"
    exit 0
}

# The parts that are written in Python.
helper() {
    "$python" -P -m mrcore.gce "$@"
}

# `mrcore` itself, whether or not it is on PATH.
mrcore_command=("$python" -P -c 'from mrcore.cli.main import main; main()')

leave() {
    leave_now "$?"
}

leave_now() {
    local code=$1 child
    trap - EXIT
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    close_tunnel
    rm -rf "$scratch"
    exit "$code"
}

command_name=${1:-}
case $command_name in
'' | -h | --help | help)
    print_head "${BASH_SOURCE[0]}"
    exit 0
    ;;
up | run | scale | status | ssh | logs | down | gc | audit | cost | image | preflight) shift ;;
*) die "there is no command $command_name; see mrcore gce --help." ;;
esac

# What a dry run prints, even where output is being read.
exec {plan}>&1
scratch=$(mktemp -d)
trap leave EXIT
# A reader that has seen enough, as in `mrcore gce run … 2>&1 | head -1`, must not leave VMs behind.
trap '' PIPE
# shellcheck source=/dev/null
source "$gce/$command_name.sh"
main "$@"
