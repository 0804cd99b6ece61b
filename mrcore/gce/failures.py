"""Failures of gcloud: their kinds, and a sentence for each with what to do."""

from __future__ import annotations

import enum
import re
from typing import Final

from mrcore.errors import MrcoreError

NEEDED_SERVICES: Final = (
    "compute.googleapis.com",
    "iam.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "storage.googleapis.com",
    "iap.googleapis.com",
)


class Kind(enum.Enum):
    """Kinds of failures that callers treat differently."""

    NOT_FOUND = enum.auto()
    EXISTS = enum.auto()
    UNSEEN = enum.auto()
    """A new account or role is not known everywhere yet, or somebody else changed the policy."""
    OTHER = enum.auto()


class GcloudError(MrcoreError):
    """A call of gcloud that failed, as one sentence."""

    def __init__(self, sentence: str, kind: Kind = Kind.OTHER) -> None:
        super().__init__(sentence)
        self.kind = kind


class StepsFailedError(MrcoreError):
    """Steps that failed; each has been reported already."""


def _any(*patterns: str) -> re.Pattern[str]:
    """Return a pattern for texts with one of these; `…` stands for anything."""
    return re.compile(
        "|".join(".*".join(map(re.escape, p.split("…"))) for p in patterns), re.DOTALL
    )


_NO_ACCOUNT: Final = (
    "ervice account …does not exist",
    "/serviceAccounts/…not found",
    "does not have access to service account",
)
_NO_PROJECT: Final = "Projects instance […not found"
_UNSEEN: Final = _any(
    *_NO_ACCOUNT, "Role …does not exist", "oncurrent policy changes", "HTTPError 412"
)
_EXISTS: Final = _any("already exists", "alreadyExists", "ALREADY_EXISTS")
_NOT_FOUND: Final = _any(
    *("not found", "notFound", "NOT_FOUND", "HTTPError 404", "does not exist"),
    *("Unknown zone", "Unknown region"),
)

_QUOTA_PAGE: Final = "https://console.cloud.google.com/iam-admin/quotas?project={project}"
_BILLING_PAGE: Final = "https://console.cloud.google.com/billing/linkedaccount?project={project}"
_SENTENCES: Final = (
    (
        _any("unrecognized arguments", "Invalid choice", "arguments not supported"),
        "this gcloud is too old ({said}). Run: gcloud components update",
    ),
    (
        _any(*_NO_ACCOUNT),
        "the service account does not exist, or you may not use it ({said}). Check its name and "
        "your role on it.",
    ),
    (
        None,  # the project itself, see `_is_no_project`
        "the project {project} does not exist, or you may not see it. Check --project, and who is "
        "logged in: gcloud auth list",
    ),
    (
        _any(
            *("ZONE_RESOURCE_POOL_EXHAUSTED", "STOCKOUT", "does not have enough resources"),
            "resource_availability",
        ),
        "the zone has no such machines left (stockout). Try later, another --zone or "
        "--machine-type, or --region, which takes any zone.",
    ),
    (
        _any("QUOTA_EXCEEDED", "Quota '…exceeded", "quotaExceeded"),
        f"a quota is used up ({{said}}). Lower --workers, or ask for more at {_QUOTA_PAGE}.",
    ),
    (
        _any(
            *("billing…disabled", "BILLING_DISABLED", "requires billing", "illing account"),
            *("inactive billing state", "illing must be enabled"),
        ),
        f"project {{project}} has no billing account. Link one at {_BILLING_PAGE}.",
    ),
    (
        _any(
            *("SERVICE_DISABLED", "accessNotConfigured", "has not been used in project"),
            "API…not enabled",
        ),
        "an API is off. Switch it on with: gcloud services enable "
        f"{' '.join(NEEDED_SERVICES)} --project={{project}}",
    ),
    (
        _any(
            *("gcloud auth login", "do not currently have an active account", "Reauthentication"),
            *("UNAUTHENTICATED", "invalid authentication"),
        ),
        "gcloud is not logged in. Run: gcloud auth login",
    ),
    (
        _any(
            *("PERMISSION_DENIED", "Required '…permission", "forbidden", "HTTPError 403"),
            *("does not have permission", "does not have …access"),
        ),
        "your account lacks a permission ({said}). See docs/gce.md, or ask the owner of {project}.",
    ),
    (
        _any("resourceInUse", "already being used by"),
        "something else still uses it ({said}). Run the same command again.",
    ),
    (
        _any(
            *("Could not reach", "Connection refused", "Name or service not known"),
            *("Unable to find the server", "timed out"),
        ),
        "Google Cloud cannot be reached ({said}). Check the network and run the same command "
        "again.",
    ),
)
_NOISE: Final = re.compile(r"(WARNING|Updated|Created|-+$)")
ROOT_CAUSES: Final = re.compile(
    r"gcloud is not logged in|the project \S+ does not exist|no billing account|cannot be reached|"
    r"gcloud is too old|is not installed"
)
"""Sentences of what makes every other call fail as well."""


def kind_of(words: str, project: str) -> Kind:
    """Return the kind of a failure, by what gcloud printed on stderr."""
    if _is_no_project(words, project):
        return Kind.OTHER
    if _UNSEEN.search(words):
        return Kind.UNSEEN
    if _EXISTS.search(words):
        return Kind.EXISTS
    return Kind.NOT_FOUND if _NOT_FOUND.search(words) else Kind.OTHER


def _is_no_project(words: str, project: str) -> bool:
    gone = f"The resource 'projects/{project}' was not found"
    return gone in words or bool(_any(_NO_PROJECT).search(words))


def explain(what: str, words: str, project: str, log: str) -> str:
    """Return what failed, why, and what to do."""
    said = _last_words(words)
    for pattern, sentence in _SENTENCES:
        found = _is_no_project(words, project) if pattern is None else pattern.search(words)
        if found:
            why = sentence.format(said=said.removesuffix("."), project=project)
            return f"{what} failed: {why}"
    return f"{what} failed: {said or 'gcloud said nothing'} (all of it is in {log})."


def _last_words(words: str) -> str:
    lines = [line for line in words.splitlines() if line.strip() and not _NOISE.match(line)]
    last = lines[-1] if lines else ""
    before, found, after = last.partition("ERROR: ")
    text = (after if found else before).partition(" This command is authenticated with ")[0]
    return text.lstrip(" \t-")
