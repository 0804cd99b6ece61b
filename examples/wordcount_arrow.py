r"""Word count over batches, for those who want the speed of C.

    mrcore run examples/wordcount_arrow.py examples/data/books/*.txt -o out/wordcount_arrow \
        --input-format arrow

`map` splits and counts the words of a whole batch of lines by Arrow's own functions and returns a
batch with the columns `key` and `value`. `mrcore.sum` adds up by columns, too; `mrcore.count`,
`mrcore.min` and `mrcore.max` are its sisters. Words are what stands between white space.
"""

import pyarrow as pa
import pyarrow.compute as pc

import mrcore


def map(key, batch):
    words = pc.list_flatten(pc.utf8_split_whitespace(batch.column("line")))
    counts = words.filter(pc.not_equal(words, "")).value_counts()
    return pa.record_batch([counts.field("values"), counts.field("counts")], names=["key", "value"])


reduce = mrcore.sum
combine = mrcore.sum
