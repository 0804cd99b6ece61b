"""`mrcore verify`: check an output against its receipt."""

from __future__ import annotations

import click
import msgspec

from mrcore.cli import base, tables
from mrcore.output.receipt import VerifyReport
from mrcore.util.units import show_duration, show_exact, show_number, show_size


@base.command()
@click.argument("output", type=base.FOLDER, metavar="OUT")
@base.json_option
def command(output: str, as_json: bool) -> int:
    """Read an output and compare every part with the receipt in OUT/_SUCCESS.

    The exit code is 1 if a part is missing, changed or added.
    """
    from mrcore.output.receipt import verify

    report = verify(base.folder_uri(output))
    if as_json:
        base.print_json({"ok": report.ok, **msgspec.to_builtins(report)})
    else:
        _print(report)
    for problem in report.problems:
        base.note(problem)
    return 0 if report.ok else 1


def _print(report: VerifyReport) -> None:
    receipt = report.receipt
    rows = [
        (
            part.name,
            str(part.records),
            str(part.size_bytes),
            "-" if part.crc32c is None else f"{part.crc32c:08x}",
            _verdict(part.name, report.problems),
        )
        for part in receipt.parts
    ]
    tables.print_table(("PART", "RECORDS", "BYTES", "CRC32C", "CHECK"), rows)
    if report.ok:
        click.echo(
            f"ok: {show_number(len(receipt.parts), 'part')}, "
            f"{show_number(receipt.records_out, 'record')}, "
            f"{show_size(report.size_bytes)}, {_skipped(receipt.bad_records)}"
            f"written by {receipt.job_id} "
            f"in {show_duration(receipt.elapsed_seconds)}"
        )


def _skipped(records: int) -> str:
    return f"{show_exact(records, 'bad record')} skipped, " if records else ""


def _verdict(name: str, problems: tuple[str, ...]) -> str:
    found = next((problem for problem in problems if problem.startswith(f"{name} ")), None)
    return "ok" if found is None else found.removeprefix(f"{name} ").rstrip(".")
