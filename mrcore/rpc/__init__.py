"""The border to gRPC: generated code, conversion, status, channels, servers.

gRPC's C core logs to standard error, for example when an idle connection is closed, and reads this
variable as it is loaded. Errors that matter reach the user as sentences of ours.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
