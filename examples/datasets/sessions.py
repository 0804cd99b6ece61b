"""Sessions of users from a log of lines `SECONDS USER PAGE`, by secondary sort.

A session ends where its user does nothing for half an hour. The visits of a user come sorted by
time and one after the other, so a user may have more of them than memory can hold.
"""

import sys

import mrcore

PAUSE_SECONDS = 1_800


def sessions_of(user, visits):
    first = last = None
    pages = 0
    for seconds, _page in visits:
        if last is not None and seconds - last > PAUSE_SECONDS:
            yield {"user": user, "start": first, "end": last, "pages": pages}
            last, pages = None, 0
        first = seconds if last is None else first
        last, pages = seconds, pages + 1
    yield {"user": user, "start": first, "end": last, "pages": pages}


def sessions(paths):
    return (
        mrcore.read_text(paths)
        .map(str.split)
        .map(lambda fields: (fields[1], (int(fields[0]), fields[2])))
        .flat_map_groups(sessions_of, sort_key=lambda visit: visit[0])
    )


if __name__ == "__main__":
    for session in sessions(sys.argv[1:]).collect():
        print(session)
