"""Everything that a campaign left behind, sorted so that the checks need not search."""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from tests.chaos.checks.claims import Claim, claims_of
from tests.chaos.checks.ledgers import Key, Ledger, Run, ledgers_of
from tests.chaos.checks.values import balances_in
from tests.chaos.history import CALLS, FAULTS, LEDGER, NOTICES, WATCHES, Call, Entry, Fault, Heard, Seen, read_all


@dataclass
class Known:
    """The highest revision of one organization that anybody had been told of, by time."""

    times: list[float]
    revisions: list[int]
    """Never decreasing."""

    def before(self, at: float) -> int:
        """That was known earlier than `at`; 0 if none was."""
        index = bisect_left(self.times, at)
        return self.revisions[index - 1] if index else 0


@dataclass
class Books:
    """What the callers saw, and the final ledger."""

    calls: list[Call]
    seen: list[Seen]
    heard: list[Heard]
    faults: list[Fault]
    ledgers: dict[str, Ledger]
    claims: list[Claim] = field(init=False)
    claims_by_key: dict[Key, list[Claim]] = field(init=False)
    """Each list by the time at which the call was started."""
    known: dict[str, Known] = field(init=False)
    _runs: dict[Key, list[Run]] = field(init=False)
    _writers: dict[Key, set[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.claims = [claim for call in self.calls for claim in claims_of(call)]
        self.claims_by_key = defaultdict(list)
        for claim in sorted(self.claims, key=lambda claim: claim.call.started):
            if not claim.validate_only:
                self.claims_by_key[claim.key].append(claim)
        self._writers = {
            key: {claim.call.actor for claim in claims if claim.outcome != "refused"}
            for key, claims in self.claims_by_key.items()
        }
        self._runs = defaultdict(list)
        for ledger in self.ledgers.values():
            for run in ledger.runs:
                self._runs[run.key].append(run)
        self.known = self._all_known()

    @property
    def ended(self) -> float:
        """The last time at which anybody saw anything."""
        calls = (call.ended for call in self.calls)
        return max((*calls, *(seen.at for seen in self.seen), *(heard.at for heard in self.heard)), default=0.0)

    def ledger(self, organization: str) -> Ledger:
        """Empty where there is none."""
        return self.ledgers.get(organization) or Ledger(organization, [])

    def runs_of(self, claim: Claim) -> list[Run]:
        """What the ledger has of it. Of operations that share a key, the ledger does not say which wrote what."""
        runs = self._runs.get(claim.key, [])
        if claim.sharers > 1 and claim.answer is not None:
            return [run for run in runs if run.last.revision == claim.revision]
        return runs

    def writers(self, key: Key) -> set[str]:
        """The actors whose entries may have this key: of its calls that were not refused."""
        return self._writers.get(key, set())

    def _all_known(self) -> dict[str, Known]:
        told: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for call in self.calls:
            if call.organization and call.answer is not None and not call.request.get("validate_only"):
                for balance in balances_in(call.answer):
                    told[call.organization].append((call.ended, int(balance["revision"])))
        for seen in self.seen:
            if seen.what in ("entry", "snapshot"):
                told[seen.organization].append((seen.at, seen.revision))
        return {organization: _known(sorted(some)) for organization, some in told.items()}


def _known(told: list[tuple[float, int]]) -> Known:
    return Known([at for at, _ in told], list(accumulate((revision for _, revision in told), max)))


def read_books(folder: Path) -> Books:
    """Of the folder of one campaign."""
    return Books(
        calls=list(read_all(folder, CALLS, Call)),
        seen=list(read_all(folder, WATCHES, Seen)),
        heard=list(read_all(folder, NOTICES, Heard)),
        faults=list(read_all(folder, FAULTS, Fault)),
        ledgers=ledgers_of(read_all(folder, LEDGER, Entry)),
    )
