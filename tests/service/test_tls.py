"""TLS, and mutual TLS: who shows a certificate is who it says."""

from pathlib import Path

import grpc
import pytest

from earmark import Tls
from earmark.messages import MessageClient
from services.ledger.store.database import Connection, Pool
from services.runtime.settings import Settings
from tests.support.certificates import OPENSSL, Certificate, make_authority, make_certificate
from tests.support.service_stories import refused, serving

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="makes its certificates with the command openssl")


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    return make_authority(tmp_path, "authority")


@pytest.fixture
def settings(tmp_path: Path, authority: Certificate) -> Settings:
    """Of an allocator that shows a certificate."""
    server = make_certificate(tmp_path, authority, "server", "IP:127.0.0.1")
    return Settings(
        listen_address="127.0.0.1:0",
        tls_certificate_file=str(server.certificate),
        tls_key_file=str(server.key),
    )


@pytest.fixture
def mutual_settings(settings: Settings, authority: Certificate) -> Settings:
    """Of one that asks its callers for theirs."""
    return Settings(
        listen_address=settings.listen_address,
        tls_certificate_file=settings.tls_certificate_file,
        tls_key_file=settings.tls_key_file,
        tls_client_ca_file=str(authority.certificate),
    )


def shows(trusted: Certificate, own: Certificate | None = None) -> Tls:
    return Tls(
        root_certificates=trusted.certificate.read_bytes(),
        client_key=own.key.read_bytes() if own else None,
        client_certificate=own.certificate.read_bytes() if own else None,
    )


async def actor_of(connection: Connection, organization: str) -> str:
    actor: str = await connection.fetchval("SELECT actor FROM entry WHERE organization = $1", organization)
    return actor


async def test_an_allocator_that_shows_a_certificate(
    settings: Settings, authority: Certificate, pool: Pool, connection: Connection
) -> None:
    async with serving(settings, pool) as address:
        async with MessageClient(address, tls=shows(authority), actor="billing") as client:
            await client.create_organization("o-1")
        assert await actor_of(connection, "o-1") == "billing"
        async with MessageClient(address) as without_tls:
            error = await refused(without_tls.get_organization("o-1"), "")
            assert error.code is grpc.StatusCode.UNAVAILABLE


async def test_the_certificate_says_who_asks(
    mutual_settings: Settings, authority: Certificate, pool: Pool, connection: Connection, tmp_path: Path
) -> None:
    billing = make_certificate(tmp_path, authority, "billing", "DNS:billing.example.com,DNS:other.example.com")
    finance = make_certificate(tmp_path, authority, "finance")
    async with serving(mutual_settings, pool) as address:
        for organization, certificate in (("o-1", billing), ("o-2", finance)):
            async with MessageClient(address, tls=shows(authority, certificate), actor="somebody else") as client:
                await client.create_organization(organization)
    assert await actor_of(connection, "o-1") == "billing.example.com"
    assert await actor_of(connection, "o-2") == "finance"


async def test_who_shows_no_certificate_or_a_strange_one_is_not_served(
    mutual_settings: Settings, authority: Certificate, pool: Pool, connection: Connection, tmp_path: Path
) -> None:
    strange = make_certificate(tmp_path, make_authority(tmp_path, "strange-authority"), "strange")
    async with serving(mutual_settings, pool) as address:
        for own in (None, strange):
            async with MessageClient(address, tls=shows(authority, own)) as client:
                error = await refused(client.create_organization("o-1"), "")
                assert error.code is grpc.StatusCode.UNAVAILABLE
    assert await connection.fetchval("SELECT count(*) FROM organization") == 0
