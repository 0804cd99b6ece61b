#!/bin/bash
# What a VM of a cluster runs at each start: fetch the payload, check it, run its `install`.
#
# Everything is told by the instance's metadata: mrcore-cluster, mrcore-role (master, worker or
# image), mrcore-home (gs://BUCKET/mrcore/NAME), mrcore-payload (its URI), mrcore-payload-sha256 and
# mrcore-env (lines KEY=VALUE for the daemons). A VM that cannot be installed uploads its boot log and
# powers itself off: a machine that idles bills like one that works.
#
# Sourced, it gives its functions: the payload's other scripts use them. PREFIX moves every path,
# and a VM's own commands (systemctl, curl) come from PATH, so that tests can run it anywhere.

set -euo pipefail
umask 022

readonly BOOT_SECONDS=900 # all of a boot, the download of a large environment too
readonly CALL_SECONDS=300 # one transfer
readonly LOG_SECONDS=60   # the upload of a log, when all else has failed

prefix="${PREFIX:-}"
boot_log="$prefix/var/log/mrcore/boot.log"
payload="$prefix/opt/mrcore/payload"

say() {
    printf 'boot: %s\n' "$*"
}

die() {
    say "$*"
    exit 1
}

# again N: wait before attempt N+1, longer each time; fail once `deadline` (on SECONDS) is near.
again() {
    local pause=$(($1 < 5 ? 1 << $1 : 30))
    ((SECONDS + pause < deadline)) || return 1
    sleep "$pause"
}

# metadata PATH: print what the metadata server says; status 4 where there is no such thing.
metadata() {
    local url="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1/$1"
    local answer code n
    for ((n = 0; ; n++)); do
        answer="$(curl --silent --show-error --noproxy '*' --max-time 10 --header 'Metadata-Flavor: Google' \
            --write-out '\n%{http_code}' "$url")" || answer=$'\n000'
        code="${answer##*$'\n'}"
        case $code in
        200)
            printf '%s' "${answer%$'\n'*}"
            return 0
            ;;
        404) return 4 ;;
        esac
        again "$n" || {
            say "the metadata server does not answer $1 (status $code)" >&2
            return 1
        }
    done
}

# attribute NAME: one of ours; empty where it is not set.
attribute() {
    local status=0
    metadata "instance/attributes/$1" || status=$?
    ((status == 0 || status == 4))
}

# Write what lets curl act as this VM's service account into $scratch/auth: no token on any
# command line.
authorise() {
    local answer
    answer="$(metadata instance/service-accounts/default/token)" ||
        die "this VM has no service account: its template must name one"
    sed -n 's/.*"access_token" *: *"\([^"]*\)".*/Authorization: Bearer \1/p' <<<"$answer" >"$scratch/auth"
    [[ -s $scratch/auth ]] || die "the metadata server gave no access token"
}

# encoded TEXT: as one segment of a URL.
encoded() {
    local LC_ALL=C text="$1" i c
    for ((i = 0; i < ${#text}; i++)); do
        c="${text:i:1}"
        case $c in
        [a-zA-Z0-9._~-]) printf '%s' "$c" ;;
        *) printf '%%%02X' "'$c" ;;
        esac
    done
}

# object_url gs://BUCKET/NAME: where its content is read.
object_url() {
    local rest="${1#gs://}"
    printf '%s/storage/v1/b/%s/o/%s?alt=media' "$storage" "${rest%%/*}" "$(encoded "${rest#*/}")"
}

# transfer WHAT CURL-ARGUMENTS...: with retries. A new service account's permissions take minutes to
# be seen everywhere, so 403 is worth another try; 404 is not: names are consistent.
transfer() {
    local what="$1" code n
    shift
    for ((n = 0; ; n++)); do
        if code="$(curl --silent --show-error --location --max-time "$CALL_SECONDS" \
            --header "@$scratch/auth" --write-out '%{http_code}' "$@")" && [[ $code == 200 ]]; then
            return
        fi
        if [[ $code == 404 ]] || ! again "$n"; then
            die "$what failed (status ${code:-000})"
        fi
        authorise
    done
}

# download URI FILE
download() {
    transfer "the download of $1" --output "$2" "$(object_url "$1")"
}

# upload FILE URI
upload() {
    local rest="${2#gs://}"
    transfer "the upload of $2" --output /dev/null --request POST --header 'Content-Type: text/plain' \
        --data-binary "@$1" \
        "$storage/upload/storage/v1/b/${rest%%/*}/o?uploadType=media&name=$(encoded "${rest#*/}")"
}

# What every script needs to know, from the metadata; `deadline` is on SECONDS.
learn() {
    deadline=$((SECONDS + $1))
    scratch="$(mktemp -d)"
    trap 'rm -rf "$scratch"' EXIT
    home="$(attribute mrcore-home)"
    [[ $home == gs://* ]] || die "the attribute mrcore-home is not in a bucket: this VM was not made by mrcore"
    machine="$(metadata instance/name)"
    env_lines="$(attribute mrcore-env)"
    storage="${STORAGE_EMULATOR_HOST:-}"
    [[ -n $storage ]] ||
        storage="$(sed -n 's/^STORAGE_EMULATOR_HOST=//p' <<<"$env_lines" | tail -n 1)"
    storage="${storage:-https://storage.googleapis.com}"
    storage="${storage%/}"
    authorise
}

fetch_payload() {
    local want="$1" uri
    uri="$(attribute mrcore-payload)"
    say "fetch $uri"
    download "$uri" "$scratch/payload.tar.gz"
    sha256sum --check --status <<<"$want  $scratch/payload.tar.gz" ||
        die "$uri is not what was meant: its SHA-256 is not $want"
    rm -rf "$payload"
    mkdir -p "$payload"
    tar --extract --gzip --no-same-owner --file "$scratch/payload.tar.gz" --directory "$payload"
    printf '%s\n' "$want" >"$payload/.sha256"
}

boot() {
    learn "$BOOT_SECONDS"
    local want
    want="$(attribute mrcore-payload-sha256)"
    if [[ -n $want && -f $payload/.sha256 && $(<"$payload/.sha256") == "$want" ]]; then
        say "the payload is here"
    else
        fetch_payload "$want"
    fi
    "$payload/install"
}

main() {
    local status=0 why role
    mkdir -p "$(dirname "$boot_log")"
    say "$(date --utc +%FT%TZ) begin" | tee -a "$boot_log"
    timeout --kill-after=10 "$BOOT_SECONDS" bash "$0" boot 2>&1 | tee -a "$boot_log" ||
        status="${PIPESTATUS[0]}"
    if ((status == 0)); then
        say "done in $SECONDS s"
    else
        why="$(tail -n 1 "$boot_log")"
        ((status != 124)) || why="not done within $BOOT_SECONDS s, after: $why"
        say "failed: ${why#boot: }"
    fi | tee -a "$boot_log"
    # In a process of its own: whatever goes wrong there must not keep the VM from its end.
    timeout --kill-after=10 $((LOG_SECONDS * 2)) bash "$0" upload-log || say "the boot log is not uploaded"
    role="$(timeout 30 bash "$0" role)" || role=
    if ((status != 0)) || [[ $role == image ]]; then
        say "power off"
        systemctl poweroff
    fi
    return "$status"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    case "${1:-main}" in
    boot) boot ;;
    upload-log)
        learn "$LOG_SECONDS"
        upload "$boot_log" "$home/logs/$machine/boot.log"
        ;;
    role)
        deadline=$((SECONDS + LOG_SECONDS))
        attribute mrcore-role
        ;;
    *) main ;;
    esac
fi
