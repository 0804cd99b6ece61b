"""Every error that mrcore raises, as one tree.

    MrcoreError                 exit code 1 unless said otherwise
    ├── UsageError              exit 2: what the user gave cannot work; found before any task runs
    │   ├── PluginError         the plugin does not load, lacks `map`, or has the wrong arity
    │   ├── PicklingError       a function, an argument or a value of a call cannot be pickled
    │   ├── InputError          an input is missing, matches nothing or cannot be read as its format
    │   ├── OutputError         the output is taken, not empty, or inside an input
    │   ├── UnknownJobError     no job has this id
    │   ├── UnknownWorkerError  no worker has this id
    │   ├── NotAllowedError     the role of the token does not allow the call
    │   └── JobEndedError       the job has ended or is being committed, or calls come too early
    ├── ClusterUnreachableError exit 3: no master answers
    ├── JobFailedError          exit 1: the job ran and failed
    ├── RemoteError             exit 1: a call failed, with an exception that does not exist here
    ├── DefectError             exit 1: mrcore itself is at fault, and a log says where
    ├── DataError               exit 1: an input or a run is truncated or corrupt
    │   ├── KeyTypeError        a key that cannot be ordered: a NaN, an object
    │   └── CorruptRunError     a run object fails its CRC or cannot be parsed
    └── StorageError            an object store refused or failed
        ├── NotFoundError
        ├── AlreadyExistsError      created by somebody else, where it had to be absent
        ├── PreconditionFailedError the generation is not the expected one
        ├── PermissionDeniedError
        ├── DiskFullError
        └── UnavailableError        may work when tried again (`retryable`)
            └── LimitError          the master is at a limit of what it keeps in memory

A message is one sentence that says what is wrong and what to do. Transport errors (gRPC, HTTP, OS)
are mapped to this tree at one border each: `mrcore/rpc/status.py` and `mrcore/storage/`.
"""

from __future__ import annotations

from typing import ClassVar


class MrcoreError(Exception):
    """The root; `str()` of it is a sentence for the user."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class InternalError(Exception):
    """Error from one module of mrcore to another: users meet another error in its place.

    Tracebacks that users see leave it out, where it is the context of an exception of theirs.
    """


class UsageError(MrcoreError):
    """Request of the user that cannot work."""

    exit_code = 2


class PluginError(UsageError):
    """The plugin does not load, lacks `map`, or has functions of the wrong arity."""


class PicklingError(UsageError):
    """A function, an argument or a value of a call cannot be pickled."""


class InputError(UsageError):
    """An input is missing, matches nothing, or cannot be read in the format asked for."""


class OutputError(UsageError):
    """The output is taken, is not empty, or lies inside an input."""


class UnknownJobError(UsageError):
    """No job has this id."""


class UnknownWorkerError(UsageError):
    """No worker has this id."""


class NotAllowedError(UsageError):
    """The role of the token does not allow the call."""


class JobEndedError(UsageError):
    """The job or session does not take this request: it has ended, or others must come before."""


class ClusterUnreachableError(MrcoreError):
    """No master answers at the address given."""

    exit_code = 3


class JobFailedError(MrcoreError):
    """The job ran and failed, or was cancelled."""


class RemoteError(MrcoreError):
    """A call failed for good; its own exception, if it raised one, exists only as text."""


class DefectError(MrcoreError):
    """The master met what it was not made for; its log has the traceback."""


class DataError(MrcoreError):
    """Data is truncated, corrupt or not of the format it was said to be."""


class KeyTypeError(DataError):
    """A key of an unsupported type, a NaN, or an int where other keys have a float."""


class CorruptRunError(DataError):
    """A run object fails its CRC, or cannot be parsed."""


class StorageError(MrcoreError):
    """An object store refused or failed."""


class NotFoundError(StorageError):
    """The object does not exist."""


class AlreadyExistsError(StorageError):
    """The object exists, where it had to be absent."""


class PreconditionFailedError(StorageError):
    """The object's generation is not the expected one."""


class PermissionDeniedError(StorageError):
    """The store does not let this account do that."""


class DiskFullError(StorageError):
    """No space is left where the object was to be written."""


class UnavailableError(StorageError):
    """The store did not answer, or asked to be tried again."""

    retryable = True


class LimitError(UnavailableError):
    """The master is at a limit of what it keeps in memory; try again later."""
