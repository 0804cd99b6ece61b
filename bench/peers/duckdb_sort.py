"""Sort lines by DuckDB with two threads.

python bench/peers/duckdb_sort.py OUT FILE...
"""

from __future__ import annotations

import sys

import duckdb

QUERY = r"""
COPY (
    SELECT line
    FROM read_csv($files, columns = {'line': 'VARCHAR'}, header = false, auto_detect = false,
        delim = '\x01', quote = '', escape = '', new_line = '\n')
    ORDER BY line
) TO '%s' (HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE '')
"""


def main() -> None:
    """Read, sort and write by one query."""
    out, *files = sys.argv[1:]
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(QUERY % out, {"files": files})


if __name__ == "__main__":
    main()
