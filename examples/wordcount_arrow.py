r"""Word count over batches, for those who want the speed of C.

    mrcore run examples/wordcount_arrow.py examples/data/books/*.txt -o out/wordcount_arrow \
        --input-format arrow

`mrcore.count_words` counts the words of a whole batch of lines at once: what stands between white
space. `mrcore.sum` adds up by columns, too; `mrcore.count`, `mrcore.min` and `mrcore.max` are its
sisters. A `map` may as well use functions of pyarrow.compute, or of DuckDB and Polars over the
batch, as long as it returns a batch or table with the columns `key` and `value`.
"""

import mrcore


def map(key, batch):
    return mrcore.count_words(batch.column("line"))


reduce = mrcore.sum
combine = mrcore.sum
