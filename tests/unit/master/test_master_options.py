"""Options of a master that depend on each other."""

from __future__ import annotations

import pytest

from mrcore.errors import UsageError
from mrcore.master.main import _options, _parser


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), None),
        (("--insecure",), (False, False)),
        (("--tls",), (True, False)),
        (("--mutual-tls",), (True, True)),
        (("--tls", "--mutual-tls"), (True, True)),
    ],
)
def test_a_master_beyond_loopback_serves_tls_or_is_told_otherwise(
    words: tuple[str, ...], expected: tuple[bool, bool] | None
) -> None:
    parsed = _parser().parse_args(["--listen", "0.0.0.0:7", "--state", "mem://s", *words])
    if expected is None:
        with pytest.raises(UsageError, match="Add --tls, or --insecure"):
            _options(parsed)
        return
    options = _options(parsed)
    assert (options.tls, options.mutual_tls) == expected
