"""What a form makes of lengths and instants that are finer than a microsecond."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from services.allocator.form import Form

YEAR_SECONDS = 365 * 24 * 3600


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (Duration(seconds=1, nanos=1_999), timedelta(seconds=1, microseconds=1)),
        (Duration(seconds=YEAR_SECONDS, nanos=1), timedelta(days=365)),
        (Duration(nanos=-1), timedelta()),
    ],
)
def test_what_is_finer_is_cut_off_before_it_is_judged(sent: Duration, read: timedelta) -> None:
    form = Form()
    assert form.grace_period("grace_period", sent) == read
    form.check()


@pytest.mark.parametrize(
    "sent", [Duration(nanos=-1_000), Duration(seconds=YEAR_SECONDS, nanos=1_000), Duration(seconds=1, nanos=-1)]
)
def test_a_microsecond_beyond_is_refused(sent: Duration) -> None:
    form = Form()
    form.grace_period("grace_period", sent)
    assert [each.field.partition(".")[0] for each in form.violations] == ["grace_period"]
