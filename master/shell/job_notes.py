"""Notes of the committer on jobs, for people who wait for one."""

from __future__ import annotations

from typing import TypeAlias

JobNotes: TypeAlias = dict[str, str]
"""Reasons why the master's own work on a job waits: one sentence by job id."""
