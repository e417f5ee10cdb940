"""The table of attempts: what was tried, what should come of it, what came of it."""


class Table:
    """Prints each row as it comes, and counts."""

    def __init__(self, quiet=False):
        self.quiet, self.rows, self.unexpected, self.door = quiet, 0, 0, ""

    def begin(self, door):
        """The rows that follow go through this door."""
        self.door = door
        if not self.quiet:
            print(f"\n--- {door}\n{'attempt':<72}  {'expected':<44}  got")

    def row(self, attempt, expected, got, detail=""):
        """As expected if both texts are the same; the detail is for people, when they are not."""
        self.rows += 1
        as_expected = expected == got
        if not as_expected:
            self.unexpected += 1
            got = f"{got}   <== UNEXPECTED {detail}"
        if not self.quiet or not as_expected:
            where = f"{self.door}: " if self.quiet else ""
            print(f"{where}{attempt:<72}  {expected:<44}  {got}", flush=True)
