"""A notice is written out by hand: it must be what protobuf would have written."""

import json
from datetime import UTC, datetime

import pytest
from google.protobuf import json_format

from earmark.v1.notice_pb2 import Notice
from services.ledger.rules.answers import Balance
from services.ledger.rules.limits import CREDITS_MAX, REVISION_MAX
from services.ledger.rules.model import Figures
from services.notices.message import payload
from services.wire import balance_message

SECOND = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
INSTANTS = [SECOND, SECOND.replace(microsecond=500_000), SECOND.replace(year=2199, microsecond=1)]


@pytest.mark.parametrize("as_of", INSTANTS)
@pytest.mark.parametrize(
    "figures",
    [
        Figures(),
        Figures(valid=5, grace=1, allocated=9, suspended=3, overdraft_limit=20),
        Figures(allocated=7, overdraft_unlimited=True),
        Figures(CREDITS_MAX, CREDITS_MAX, CREDITS_MAX, CREDITS_MAX, CREDITS_MAX),
    ],
)
@pytest.mark.parametrize("revision", [1, REVISION_MAX])
def test_a_payload_is_the_notice_in_proto3_json(figures: Figures, as_of: datetime, revision: int) -> None:
    balance = Balance("acme-1", revision, as_of, figures)
    notice = Notice(organization="organizations/acme-1", revision=revision, balance=balance_message(balance))

    text = payload(balance)
    assert "\n" not in text
    assert json.loads(text) == json_format.MessageToDict(notice, always_print_fields_with_no_presence=True)
