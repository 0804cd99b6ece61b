"""Word count by a Counter for each block of lines."""

from collections import Counter

import mrcore


def map(key, block):
    return Counter(block.split())


reduce = mrcore.sum
combine = mrcore.sum
