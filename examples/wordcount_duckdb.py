r"""Word count in SQL: an engine inside `map`, over Arrow batches.

    pip install duckdb
    mrcore run examples/wordcount_duckdb.py examples/data/books/*.txt -o out/wordcount_duckdb \
        --input-format arrow

DuckDB reads the batch where it lies, without a copy, and gives back a table. mrcore does the rest:
it cuts the input, sorts what the tasks have counted, adds it up within `--memory`, and tries again
what fails. Any query will do whose result has the columns `key` and `value`. Polars fits in the
same way: `polars.from_arrow(batch)`, and `to_arrow()` at the end.

A worker runs a task on each of its slots, so the engine gets one thread. It is opened in `setup`,
once for each process.
"""

import duckdb

import mrcore

QUERY = r"""
    SELECT word AS key, count(*) AS value
    FROM (SELECT unnest(regexp_split_to_array(line, '\s+')) AS word FROM lines)
    WHERE word != ''
    GROUP BY word
"""


def setup(context):
    global engine
    engine = duckdb.connect(config={"threads": 1})


def map(key, batch):
    engine.register("lines", batch)
    return engine.sql(QUERY).to_arrow_table()


reduce = mrcore.sum
combine = mrcore.sum
