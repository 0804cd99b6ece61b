#!/usr/bin/env bash
# Make a cluster, run a job on it, remove the cluster: nothing is left but the output.
#
#   mrcore gce run PLUGIN INPUT... -o gs://BUCKET/OUT [--workers N] [OPTION...]
#
# Options of the cluster are those of `mrcore gce up`; all others, such as -r, --param or --overwrite,
# are those of `mrcore run`. The cluster's name comes from the output unless --name is given, so the
# same command again goes on after an interruption. Besides:
#
#   --keep             leave the cluster up at the end, as one of `mrcore gce up` always is
#   --receipt FILE     write the receipt of the output there
#
# Ctrl-C cancels the job and removes the cluster; a second one stops at once, and says what is left.
#
# Exit codes: those of `mrcore run`, or 1 when something could not be made or removed.

# Variables that main.sh and its libraries share:
# shellcheck disable=SC2154,SC2034
interrupted='' job_pid=''

main() {
    take_options "$cluster_values receipt " "$cluster_flags keep " job "$@"
    ((${#job[@]})) || die "what is to run? Write mrcore gce run PLUGIN INPUT... -o gs://BUCKET/OUT; see mrcore gce run --help."
    [[ -n ${opt[output]:-} ]] || die "where is the output to go? Give -o gs://BUCKET/OUT."
    settle_place
    settle_name "${opt[name]:-$(name_of_run)}"
    [[ ${opt[output]} == gs://?*/?* ]] || die "-o ${opt[output]} is no folder of a bucket: the VMs write to gs://BUCKET/OUT."
    # A cluster that has been named may be there, and needs fewer checks then.
    dry || [[ -z ${opt[name]:-} ]] || look_once || exit 1
    settle_home
    trap on_interrupt INT TERM HUP
    if dry; then
        plan_run
        return
    fi
    check_before check_job || exit 2
    take_places
    tell_size
    trap finish_run EXIT
    make_cluster || exit 1
    connect
    await_master 600 || exit 3
    run_job
}

# The same job gets the same cluster: that is how a command that is repeated finds it.
name_of_run() {
    printf 'run-%s' "$(printf '%s' "${opt[output]%/}" | sha256sum | cut -c 1-8)"
}

take_places() {
    mapfile -t job_inputs < <(fact input)
    mapfile -t job_outputs < <(fact written)
    mapfile -t job_temps < <(fact temporary)
}

plan_run() {
    local stopped=0
    check_options
    check_job >"$scratch/findings" || exit 2
    take_places
    collect_findings
    make_cluster
    connect
    tell_group_errors
    printf '# The job then runs: %s\n' "$(quoted mrcore run "${job[@]}" "--state=$home/state")"
    [[ -n ${c[kept]:-} ]] || remove_cluster
    estimate | sed 's/^/# /'
    if grep '^error|' "$scratch/findings" >"$scratch/errors"; then
        sed 's/^error|/# this would stop it: /' "$scratch/errors"
        stopped=2
    fi
    return "$stopped"
}

# What the job reads and will about cost, before anything is paid for.
tell_size() {
    local line
    estimate --brief >"$scratch/estimate" || return 0
    while IFS= read -r line; do
        say "$line"
    done <"$scratch/estimate"
}

run_job() {
    local running code=0 ended
    local -a command=("${mrcore_command[@]}")
    running=$(fact running)
    if [[ -n $running ]]; then
        say "the cluster runs this job already, as $running."
        command+=(watch "$running")
    else
        command+=(run "${job[@]}")
    fi
    ! as_json || command+=(--json)
    # In the background, since only then a signal that comes to us alone is heard while it runs.
    "${command[@]}" "${master_options[@]}" &
    job_pid=$!
    wait_for_job || code=$?
    job_pid=
    printf -v ended '%(%s)T' -1
    if ((code == 0)); then
        bring_receipt
    fi
    take_cost "$ended"
    exit "${interrupted:-$code}"
}

# `wait` returns when a trapped signal comes, so it is called until the job has ended.
wait_for_job() {
    local code=0
    while :; do
        code=0
        wait "$job_pid" || code=$?
        kill -0 "$job_pid" 2>/dev/null || return "$code"
    done
}

bring_receipt() {
    local receipt
    receipt=$(fact output)/_SUCCESS
    if [[ -n ${opt[receipt]:-} ]]; then
        helper get "$receipt" "${opt[receipt]}" || return 0
        say "the receipt is in ${opt[receipt]}."
    else
        say "the receipt is $receipt; check the output against it with: mrcore verify $(fact output)"
    fi
}

# take_cost ENDED: the master books what the job has cost within some seconds of its end.
take_cost() {
    "$python" -P -m mrcore.cost report --brief "--state=$home/state" "--booked-after=$1" >"$scratch/cost" 2>>"$log_file" || true
}

# The first Ctrl-C, SIGTERM or SIGHUP: cancel the job, then clean up. The job hears SIGTERM alone,
# as it was started in the background.
on_interrupt() {
    interrupted=130
    trap on_second_interrupt INT TERM HUP
    if [[ -n $job_pid ]]; then
        kill -TERM "$job_pid" 2>/dev/null || true
    else
        say "stopping …"
        exit 130
    fi
}

# A first Ctrl-C when the job is over: what is left to do is just what it asks for.
on_interrupt_of_removal() {
    interrupted=130
    trap on_second_interrupt INT TERM HUP
    say "removing the cluster; once more, and it stays as it is then."
}

on_second_interrupt() {
    trap - EXIT
    say "stopped. VMs may be left; this removes them: $(removal_command)"
    [[ -z $job_pid ]] || kill -KILL "$job_pid" 2>/dev/null || true
    leave_now 130
}

# However the run went: nothing stays, but what was asked for.
finish_run() {
    local code=$? folder others
    [[ -n $interrupted ]] || trap on_interrupt_of_removal INT TERM HUP
    trap - EXIT
    # What is still being made must be there before it can be removed.
    wait_for_makers
    # Refused, or stopped, before the cluster was ours: another's must not go.
    [[ -n ${c[name]:-} ]] || { [[ -n $interrupted ]] && read_record show "--home=$home"; } || leave_now "$code"
    tell_cost
    if [[ -n ${c[kept]:-} ]]; then
        say "the cluster $name stays up; remove it with: $(removal_command)"
        leave_now "$code"
    fi
    if others=$(jobs_of_others) && [[ -n $others ]]; then
        say "the cluster $name stays up, since it runs another job, $others: that job's run removes it, or: $(removal_command)"
        leave_now "$code"
    fi
    if ((code != 0)); then
        folder="${log_file%/*}/logs"
        if helper logs "--home=$home" "--save=$folder" >"$scratch/saved" 2>/dev/null && [[ $(<"$scratch/saved") != 0 ]]; then
            say "the logs of the cluster are in $folder."
        fi
    fi
    say "removing the cluster …"
    close_tunnel
    if ! remove_cluster; then
        say "the cluster could not be removed altogether; run again: $(removal_command)"
        ((code != 0)) || code=1
    elif ((code == 0)); then
        say "nothing is left of the cluster $name; the output is $(fact output)."
    else
        say "nothing is left of the cluster $name."
    fi
    leave_now "$code"
}

# Jobs of a run that was given the same --name; one that has ended has nothing to lose.
jobs_of_others() {
    ((${#master_options[@]})) || return 0
    local address=${master_options[1]:-}
    helper others "--home=$home" "--master=${address#--master=}" "--output=$(fact output)" 2>>"$log_file"
}

# What all of it has cost, where that was booked; a second does not matter to a person.
tell_cost() {
    local line
    [[ -s $scratch/cost ]] || return 0
    while IFS= read -r line; do
        say "$line after $((SECONDS / 60)) min $((SECONDS % 60)) s."
    done <"$scratch/cost"
}
