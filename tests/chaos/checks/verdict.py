"""What a check found: how much it judged, and what was not as promised."""

from dataclasses import dataclass, field
from typing import Final

SHOWN_MAX: Final = 5


@dataclass
class Verdict:
    """Of one check."""

    name: str
    promise: str
    cases: int = 0
    violations: int = 0
    shown: list[str] = field(default_factory=list)
    """The first violations, in words."""

    def judge(self, *wrongs: str) -> None:
        """One case. Each wrong is a violation; those that are empty are none."""
        self.cases += 1
        for wrong in wrongs:
            if wrong:
                self.violations += 1
                if len(self.shown) < SHOWN_MAX:
                    self.shown.append(wrong)

    def judged_too_little(self, cases_min: int) -> bool:
        return self.cases < cases_min

    def lines(self, cases_min: int) -> list[str]:
        """For people."""
        mark = "FAILED" if self.violations or self.judged_too_little(cases_min) else "ok"
        lines = [f"{self.name}: {mark}, {self.cases:,} cases, {self.violations:,} violations", f"    {self.promise}"]
        if self.judged_too_little(cases_min):
            lines.append(f"    ! judged fewer than {cases_min} cases, which proves nothing")
        lines += [f"    - {words}" for words in self.shown]
        if self.violations > len(self.shown):
            lines.append(f"    - and {self.violations - len(self.shown):,} more")
        return lines
