"""What watchers saw."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from tests.chaos.checks.books import Books
from tests.chaos.checks.ledgers import Ledger
from tests.chaos.checks.values import balance_figures, digest_of, entry_figures, id_of, micros, unlike
from tests.chaos.checks.verdict import Verdict
from tests.chaos.history import Entry, Message, Seen


def watchers_see_each_revision_once(books: Books, verdict: Verdict) -> None:
    """Every watcher saw each revision once, in order, as the ledger has it, from where it began to the end."""
    by_watcher = sorted(books.seen, key=lambda seen: (seen.watcher, seen.organization))
    for (name, organization), lines in groupby(by_watcher, lambda seen: (seen.watcher, seen.organization)):
        watcher = Watcher(name, books.ledger(organization))
        watcher.follow(lines, verdict)
        watcher.end(verdict)


@dataclass
class Watcher:
    name: str
    ledger: Ledger
    position: int | None = None
    """The last revision that it has seen; None while it waits for a snapshot."""

    def follow(self, lines: Iterable[Seen], verdict: Verdict) -> None:
        for seen in lines:
            wrong = self._take(seen)
            if wrong or seen.what in ("entry", "snapshot"):
                where = f"watcher {self.name} of {self.ledger.organization} at {seen.at:.3f}"
                verdict.judge(f"{where}, {seen.what} {seen.revision}: {wrong}" if wrong else "")

    def end(self, verdict: Verdict) -> None:
        last, who = self.ledger.last_revision, f"watcher {self.name} of {self.ledger.organization}"
        verdict.judge("" if self.position == last else f"{who} reached {self.position}, the ledger's last is {last}")

    def _take(self, seen: Seen) -> str:
        before, self.position = self.position, seen.revision
        match seen.what:
            case "reset":
                self.position = None
                return f"was told after {before} that this is of another history"
            case "began" if seen.revision < 0:
                self.position = None
                return ""
            case "began":
                return "" if before in (None, seen.revision) else f"asked to go on after it, having seen {before}"
            case "snapshot":
                return self._unlike_snapshot(seen, before)
            case "entry":
                if before is None:
                    return "came before a snapshot"
                if seen.revision != before + 1:
                    return f"came after {before}"
                entry = self.ledger.at(seen.revision)
                return "the ledger does not have it" if entry is None else _unlike_entry(seen.entry, entry)

    def _unlike_snapshot(self, seen: Seen, before: int | None) -> str:
        entry = self.ledger.at(seen.revision)
        if before is not None:
            return f"came to whoever had seen {before}"
        if entry is None or seen.entry is None:
            return "the ledger does not have it"
        return unlike(balance_figures(seen.entry), entry_figures(entry))


def _unlike_entry(shown: Message | None, entry: Entry) -> str:
    if shown is None:
        return "has nothing in it"
    resource = id_of(shown["resource"]) if shown["resource"].count("/") > 1 else ""
    pairs = {
        "revision": (int(shown["revision"]), entry.revision),
        "kind": (shown["kind"], entry.kind),
        "resource": (resource, entry.resource),
        "effective_time": (micros(shown["effective_time"]), micros(entry.effective_time)),
        "recorded_time": (micros(shown["recorded_time"]), micros(entry.recorded_time)),
        "request_id": (shown["request_id"], entry.request_id),
        "actor": (shown["actor"], entry.actor),
        "last": (shown["last"], entry.last),
        "digest": (digest_of(shown), entry.digest),
    }
    for name, (one, other) in pairs.items():
        if one != other:
            return f"{name} is {one!r}, the ledger has {other!r}"
    return unlike(balance_figures(shown["balance"]), entry_figures(entry))
