"""`mrcore gce scale`: change how many workers a cluster may have."""

from __future__ import annotations

from mrcore.errors import UsageError
from mrcore.gce import record as records
from mrcore.gce.console import say
from mrcore.gce.options import Options, parse_count
from mrcore.gce.runner import Runner


def scale(options: Options, number: str, word: str, least: str) -> int:
    """Write the new bounds into the record, which the master reads; return the exit code."""
    changes = _changes(number, least)
    runner = Runner("scale", options)
    runner.settle_place()
    runner.settle_name(word)
    runner.settle_home()
    if runner.plan is not None:
        runner.need_home("the home of the cluster is not known. Give --bucket BUCKET.")
        pairs = " ".join(f"{field}={value}" for field, value in changes.items())
        runner.note(f"{pairs} is written to {runner.home}/cluster.json; no gcloud command.")
        runner.plan.show()
        return 0
    runner.need_home(
        f"project {runner.project} has no cluster {runner.name}. See: mrcore gce audit"
    )
    made = runner.crew.do(lambda: records.change_record(runner.home, **changes))
    say(f"{runner.name} may have {made.min_workers} to {made.max_workers} workers.")
    return 0


def _changes(number: str, least: str) -> dict[str, int]:
    most = parse_count(number)
    if most is None:
        raise UsageError("how many workers? Write mrcore gce scale N --name NAME.")
    if not least:
        return {"max_workers": most}
    fewest = parse_count(least)
    if fewest is None or fewest > most:
        raise UsageError(f"--min-workers {least} is not a number up to {most}.")
    return {"max_workers": most, "min_workers": fewest}
