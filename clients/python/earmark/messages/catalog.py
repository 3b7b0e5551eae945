"""CatalogService."""

from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from earmark import names
from earmark.messages.connection import Connection
from earmark.messages.wire import given
from earmark.v1 import catalog_service_pb2 as pb
from earmark.v1.catalog_service_pb2_grpc import CatalogServiceStub
from earmark.v1.resources_pb2 import Offering, Price

if TYPE_CHECKING:  # a name of the stubs alone
    from earmark.v1.catalog_service_pb2_grpc import CatalogServiceAsyncStub


class Catalog(Connection):
    """The offerings and their prices."""

    @cached_property
    def _catalog_service(self) -> "CatalogServiceAsyncStub":
        return CatalogServiceStub(self._channel)

    async def create_offering(
        self,
        offering: str,
        *,
        price: Price,
        display_name: str = "",
        solution: str = "",
        unit: str = "",
        retired: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> Offering:
        """Adds an offering. `earmark.price` makes its price."""
        request = pb.CreateOfferingRequest(
            offering_id=offering,
            offering=Offering(display_name=display_name, solution=solution, unit=unit, price=price, retired=retired),
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._catalog_service.CreateOffering, request)

    async def update_offering(  # noqa: PLR0913 - a keyword for each field
        self,
        offering: str,
        *,
        price: Price | None = None,
        display_name: str | None = None,
        solution: str | None = None,
        unit: str | None = None,
        retired: bool | None = None,
        etag: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Offering:
        """Changes what is given; a price is added as a new version, from its effective time on."""
        fields = given(
            {
                "display_name": display_name,
                "solution": solution,
                "unit": unit,
                "price": price,
                "retired": retired,
            }
        )
        request = pb.UpdateOfferingRequest(
            offering=Offering(name=names.offering(offering), etag=etag, **fields),
            update_mask=FieldMask(paths=list(fields)),
            request_id=request_id,
            validate_only=validate_only,
        )
        return await self._mutate(self._catalog_service.UpdateOffering, request)

    async def get_offering(self, offering: str) -> Offering:
        request = pb.GetOfferingRequest(name=names.offering(offering))
        return await self._call(self._catalog_service.GetOffering, request)

    async def list_offerings(self, *, page_size: int = 0) -> AsyncGenerator[Offering, None]:
        """All, by id."""
        request = pb.ListOfferingsRequest(page_size=page_size)
        async for page in self._pages(self._catalog_service.ListOfferings, request):
            for offering in page.offerings:
                yield offering
