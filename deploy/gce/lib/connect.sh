# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# Reaching the master: by its address inside the network, or through Google's tunnel. Sourced by main.sh.

declare -ga master_options=()
tunnel_pid=

# connect: fill `master_options` with what `mrcore` needs to find the master.
connect() {
    master_options=("--state=${c[home]}/state")
    [[ ${c[connect]} == iap ]] || return 0
    if dry; then
        printf '# meanwhile: %s\n' "$(quoted gcloud compute start-iap-tunnel "mrcore-$name-master" 7077 --local-host-port=localhost:PORT "--zone=${c[master_zone]}" "--project=$project" --quiet)"
        return 0
    fi
    local port
    port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])') || return 1
    keep_tunnel "$port" &
    tunnel_pid=$!
    master_options+=("--master=localhost:$port")
}

# keep_tunnel PORT: a tunnel that is opened again when it breaks. It is no child of the terminal, so
# that Ctrl-C first cancels the job through it; it goes when we do.
keep_tunnel() {
    local tunnel=
    local -a leave=()
    trap '[[ -z $tunnel ]] || kill "$tunnel" 2>/dev/null; exit 0' TERM
    trap '' INT HUP
    ! command -v setpriv >/dev/null || leave=(setpriv --pdeathsig TERM)
    while kill -0 "$$" 2>/dev/null; do
        "${leave[@]}" gcloud compute start-iap-tunnel "mrcore-$name-master" 7077 "--local-host-port=localhost:$1" \
            "--zone=${c[master_zone]}" "--project=$project" --quiet </dev/null >>"$log_file" 2>&1 &
        tunnel=$!
        wait "$tunnel" || true
        nap 2
    done
}

close_tunnel() {
    [[ -n $tunnel_pid ]] || return 0
    kill "$tunnel_pid" 2>/dev/null || true
    wait "$tunnel_pid" 2>/dev/null || true
    tunnel_pid=
}

# await_master SECONDS: wait until the master answers, and say what the machines do meanwhile.
await_master() {
    local waiter told='' last='' address=${master_options[1]:-} code=0 start=$SECONDS
    helper await "--home=${c[home]}" "--master=${address#--master=}" "--seconds=$1" >"$scratch/await" 2>"$scratch/await-errors" &
    waiter=$!
    children+=("$waiter")
    # A master that is up already answers at once.
    pause 2 "$waiter"
    ! kill -0 "$waiter" 2>/dev/null || say "waiting for the master: a VM is ready after a minute or two, with an image of mrcore after half a minute …"
    while kill -0 "$waiter" 2>/dev/null; do
        tell_group_errors &
        told=$(machine_states) || told=
        if [[ -n $told && $told != "$last" ]]; then
            say "$told"
            last=$told
        fi
        wait "$!" || true
        if [[ $told == *"master TERMINATED"* || $told == *"master STOPP"* ]]; then
            kill "$waiter" 2>/dev/null || true
            say "the master could not start; the end of its boot log:"
            helper logs "--home=${c[home]}" "--vm=mrcore-$name-master" | tail -n 20 >&2 || true
            return 1
        fi
        pause 3 "$waiter"
    done
    wait "$waiter" || code=$?
    if ((code == 0)); then
        told=$(<"$scratch/await")
        say "the master answers$( ((SECONDS - start < 5)) || printf ' after %d s' $((SECONDS - start))); $told $( ((told == 1)) && printf 'worker has' || printf 'workers have') joined so far."
        return 0
    fi
    cat "$scratch/await-errors" >&2
    return "$code"
}

# Sleep, as this very process: a `sleep` would outlive us, with our terminal in its hands.
nap() {
    local never
    exec {never}<> <(:)
    read -rt "$1" -u "$never" || true
    exec {never}>&-
}

# Wait until all is made that is being made: what comes after an interruption has to see it.
wait_for_makers() {
    local maker
    for maker in $(jobs -p); do
        case " ${children[*]} $tunnel_pid " in
        *" $maker "*) ;;
        *) wait "$maker" 2>/dev/null || true ;;
        esac
    done
}

# Wait some seconds, or until a process has ended.
pause() {
    local i
    for ((i = 0; i < $1 * 5; i++)); do
        kill -0 "$2" 2>/dev/null || return 0
        nap 0.2
    done
}

# One line on the machines: `master RUNNING, workers: 3 RUNNING, 1 STAGING`.
machine_states() {
    list_instances "$name" | awk -F '|' '
        $6 == "master" { master = $4 }
        $6 == "worker" { count[$4]++ }
        END {
            line = "master " (master == "" ? "not there yet" : master)
            separator = "; workers: "
            for (state in count) { line = line separator count[state] " " state; separator = ", " }
            print line
        }'
}

# Say what the groups could not do, each thing once: stockouts and quotas above all.
tell_group_errors() {
    local group error
    # While no master answers, only one of them is to have workers.
    local -a groups=("${c[provisioning]}")
    [[ $command_name != status ]] || groups=(spot standard)
    for group in "${groups[@]}"; do
        while IFS= read -r error; do
            [[ -n $error ]] || continue
            grep -qxF -- "$group $error" "$scratch/told" 2>/dev/null && continue
            printf '%s %s\n' "$group" "$error" >>"$scratch/told"
            printf '%s\n' "$error" >"$scratch/group-error"
            say "$(explain "Making a $group worker" "$scratch/group-error")"
        done < <(group_errors "mrcore-$name-$group" | sort -u)
    done
}

group_errors() {
    look "Asking $1 for errors" compute instance-groups managed list-errors "$1" "$(place_option)" \
        --format='value[separator=": "](error.code,error.message)' 2>/dev/null || true
}
