"""Word count by DuckDB with two threads.

python bench/peers/duckdb_wordcount.py OUT FILE...
"""

from __future__ import annotations

import sys

import duckdb

# The separator is a byte that no text has, so that a line is one cell.
QUERY = r"""
COPY (
    SELECT word, count(*) FROM (
        SELECT unnest(string_split(line, ' ')) AS word
        FROM read_csv($files, columns = {'line': 'VARCHAR'}, header = false, auto_detect = false,
            delim = '\x01', quote = '', escape = '', new_line = '\n')
    )
    WHERE word != '' GROUP BY word ORDER BY word
) TO '%s' (HEADER false, DELIMITER '\t', QUOTE '')
"""


def main() -> None:
    """Read, count and write by one query."""
    out, *files = sys.argv[1:]
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(QUERY % out, {"files": files})


if __name__ == "__main__":
    main()
