"""The storage, with the operator's own credentials: what they may, and above all what they may not."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "env"))

from check_identities import Identities  # noqa: E402 (it lies beside the driver)


def attack(table, folder):
    """Every call that docs/reference/permissions.md#storage-identities speaks of, and what nobody may."""
    table.begin("storage: the operator's own credentials")
    Identities(folder, lambda what, wanted, got: table.row(shorter(what), wanted, got)).check()


def shorter(what):
    """Without the 32 digits that are this run's."""
    return " ".join(word if len(word) < 60 else f"{word[:30]}…{word[-20:]}" for word in what.split(" "))
