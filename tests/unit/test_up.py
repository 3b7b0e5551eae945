"""What `earmark-admin up` prints holds no secret."""

import pytest

from services.admin.up import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://earmark:s3cret@db:5432/earmark", "postgresql://earmark:***@db:5432/earmark"),
        ("postgresql://earmark@127.0.0.1:5432/earmark", "postgresql://earmark@127.0.0.1:5432/earmark"),
        ("redis://:s3cret@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
