"""All stories, by name."""

from __future__ import annotations

from tests.cloud.proof.ctrl_c import CtrlC
from tests.cloud.proof.forgotten import Forgotten
from tests.cloud.proof.laptop import Laptop
from tests.cloud.proof.losses import Losses, Short
from tests.cloud.proof.master import MasterLost
from tests.cloud.proof.network import Network
from tests.cloud.proof.shortage import Shortage
from tests.cloud.proof.spending import Spending
from tests.cloud.proof.story import Story
from tests.cloud.proof.wave import Wave

_KINDS: tuple[type[Story], ...] = (
    *(Losses, MasterLost, Network, Wave, Shortage),
    *(CtrlC, Laptop, Forgotten, Spending, Short),
)
STORIES = {kind.name: kind for kind in _KINDS}
ALL = [name for name in STORIES if name != Short.name]
"""But for the short form of the first."""
