# shellcheck shell=bash disable=SC2154,SC2034 # variables are shared with main.sh
# Every call of gcloud goes through here: it is logged, printed in a dry run, and its known failures
# become one sentence each. Sourced by main.sh.

readonly NOT_FOUND=4 EXISTS=5 UNSEEN=6
readonly patience_seconds=150

# change WHAT ARGUMENT...: call gcloud to change something; a dry run prints the command instead.
# Returns NOT_FOUND or EXISTS for these and 1 for other failures, which have been explained.
change() {
    local what=$1
    shift
    if dry; then
        quoted gcloud "$@" --quiet "--project=$project" >&"$plan"
        return 0
    fi
    : >"$scratch/changed" # a file, since changes are made by processes of their own, too
    call "$what" "$@" --quiet >/dev/null
}

# look WHAT ARGUMENT...: call gcloud to read something, and print what it prints. A dry run asks
# nothing, says once what it would ask, and sees an empty project.
look() {
    local what=$1 command
    shift
    if dry; then
        command=$(quoted gcloud "$@" "--project=$project")
        grep -qxF -- "$command" "$scratch/planned" 2>/dev/null || printf '# reads: %s\n' "$command" >&"$plan"
        printf '%s\n' "$command" >>"$scratch/planned"
        return 0
    fi
    call "$what" "$@"
}

# call WHAT ARGUMENT...: the one place where gcloud is started and waited for.
call() {
    local what=$1 errors code=0 start=$SECONDS
    shift
    local -a command=(gcloud "$@")
    [[ -z $project ]] || command+=("--project=$project")
    errors=$(mktemp "$scratch/gcloud-XXXXXX")
    "${command[@]}" 2>"$errors" </dev/null || code=$?
    # Gone: whoever started us was stopped while we waited, and has said so.
    [[ -e $errors ]] || return 1
    # In one piece: others are writing there, too.
    printf '%(%FT%T)T exit %d after %d s: %s\n%s' -1 "$code" $((SECONDS - start)) "$(quoted "${command[@]}")" \
        "$( ((code == 0)) || cat "$errors")"$'\n' | sed '/^$/d' >"$errors.log"
    cat "$errors.log" >>"$log_file"
    ((code == 0)) && return 0
    code=1
    failure_of "$errors" || code=$?
    # Whoever reckons with it says so in a variable of its own.
    [[ " ${tolerated:-} " == *" $code "* ]] || say "$(explain "$what" "$errors")"
    return "$code"
}

# failure_of FILE: NOT_FOUND, EXISTS, UNSEEN or 1, by gcloud's words.
failure_of() {
    local words
    words=$(<"$1")
    case $words in
    *"Projects instance ["*"not found"* | *"The resource 'projects/$project' was not found"*) return 1 ;;
    # An account or role that was made just now, or a policy that somebody else was changing.
    *"ervice account "*"does not exist"* | */serviceAccounts/*"not found"* | *"does not have access to service account"* | \
        *"Role "*"does not exist"* | *"oncurrent policy changes"* | *"HTTPError 412"*) return "$UNSEEN" ;;
    *"already exists"* | *alreadyExists* | *ALREADY_EXISTS*) return "$EXISTS" ;;
    *"not found"* | *notFound* | *NOT_FOUND* | *"HTTPError 404"* | *"does not exist"* | *"Unknown zone"* | *"Unknown region"*)
        return "$NOT_FOUND" ;;
    esac
    return 1
}

# explain WHAT FILE: what gcloud said, as one sentence with what to do.
explain() {
    local what=$1 words last
    words=$(<"$2")
    last=$(grep -vE '^(WARNING|Updated|Created|-+$)' "$2" | grep -v '^[[:space:]]*$' | tail -n 1) || last=
    last=${last#*ERROR: }
    last=${last%% This command is authenticated with *}
    last=${last#"${last%%[![:space:]-]*}"}
    case $words in
    *"unrecognized arguments"* | *"Invalid choice"* | *"arguments not supported"*)
        printf '%s failed: this gcloud is too old (%s); run: gcloud components update' "$what" "${last%.}" ;;
    *"ervice account "*"does not exist"* | */serviceAccounts/*"not found"* | *"does not have access to service account"*)
        printf '%s failed: there is no such service account that you may use (%s); check its name and your role on it.' "$what" "${last%.}" ;;
    *"Projects instance ["*"not found"* | *"The resource 'projects/$project' was not found"*)
        printf '%s failed: there is no project %s that you may see; check --project, and who is logged in: gcloud auth list' "$what" "$project" ;;
    *ZONE_RESOURCE_POOL_EXHAUSTED* | *STOCKOUT* | *"does not have enough resources"* | *resource_availability*)
        printf '%s failed: the zone has no such machines left (stockout); try later, another --zone or --machine-type, or --region, which takes any zone.' "$what" ;;
    *QUOTA_EXCEEDED* | *"Quota '"*"exceeded"* | *quotaExceeded*)
        printf '%s failed: a quota is used up (%s); lower --workers, or ask for more at https://console.cloud.google.com/iam-admin/quotas?project=%s.' "$what" "${last%.}" "$project" ;;
    *"billing"*"disabled"* | *BILLING_DISABLED* | *"requires billing"* | *"illing account"* | *"inactive billing state"* | *"illing must be enabled"*)
        printf '%s failed: project %s has no billing account; link one at https://console.cloud.google.com/billing/linkedaccount?project=%s.' "$what" "$project" "$project" ;;
    *SERVICE_DISABLED* | *accessNotConfigured* | *"has not been used in project"* | *"API"*"not enabled"*)
        printf '%s failed: an API is off; switch them on with: gcloud services enable %s --project=%s' "$what" "${needed_services[*]}" "$project" ;;
    *"gcloud auth login"* | *"do not currently have an active account"* | *"Reauthentication"* | *UNAUTHENTICATED* | *"invalid authentication"*)
        printf '%s failed: gcloud is not logged in; run: gcloud auth login' "$what" ;;
    *PERMISSION_DENIED* | *"Required '"*"permission"* | *forbidden* | *"HTTPError 403"* | *"does not have permission"* | *"does not have "*"access"*)
        printf '%s failed: your account lacks a permission (%s); see docs/gce.md, or ask the owner of %s.' "$what" "${last%.}" "$project" ;;
    *resourceInUse* | *"already being used by"*)
        printf '%s failed: something else still uses it (%s); run the same command again.' "$what" "${last%.}" ;;
    *"Could not reach"* | *"Connection refused"* | *"Name or service not known"* | *"Unable to find the server"* | *"timed out"*)
        printf '%s failed: Google Cloud cannot be reached (%s); check the network and run the same command again.' "$what" "${last%.}" ;;
    *)
        printf '%s failed: %s (all of it is in %s).' "$what" "${last:-gcloud said nothing}" "$log_file" ;;
    esac
}

# together COMMAND...: run functions, each with its arguments in one word, at the same time. Fails
# if one failed, when all have ended: nothing is still being made behind our back.
together() {
    local -a waiting=()
    local step failed=0
    for step in "$@"; do
        if dry; then
            eval "$step" || failed=1
        else
            eval "$step" &
            waiting+=("$!")
        fi
    done
    for step in "${waiting[@]}"; do
        wait "$step" || failed=1
    done
    return "$failed"
}

# made COMMAND...: a `change` that is content when the thing is there already.
made() {
    local code=0 tolerated=$EXISTS
    "$@" || code=$?
    ((code == 0 || code == EXISTS))
}

# patiently COMMAND...: a `change` that names accounts or roles which may have been made just now. For
# up to a minute or two the rest of the cloud says that there are none.
patiently() {
    local code end=$((SECONDS + patience_seconds)) pause=1 before=${tolerated:-}
    while :; do
        local tolerated="$before $UNSEEN"
        pause=$((pause < 16 ? pause * 2 : 16))
        ((SECONDS + pause < end)) || tolerated=$before # the last try says what is wrong
        code=0
        "$@" || code=$?
        ((code == UNSEEN)) && [[ " $tolerated " == *" $UNSEEN "* ]] || return "$code"
        # Once, though several wait at the same time.
        ! (set -o noclobber && : >"$scratch/told-unseen") 2>/dev/null ||
            say "the new accounts are not known everywhere yet; trying again for up to $patience_seconds s …"
        nap "$pause"
    done
}

# gone COMMAND...: a `change` that is content when the thing is not there.
gone() {
    local code=0 tolerated=$NOT_FOUND
    "$@" || code=$?
    ((code == 0 || code == NOT_FOUND))
}
