"""The offerings and their prices."""

from collections.abc import AsyncGenerator
from decimal import Decimal

from earmark.calls.base import Calls
from earmark.messages import price as price_message
from earmark.reading import resources
from earmark.types import Offering, Price
from earmark.v1 import resources_pb2


class Catalog(Calls):
    async def create_offering(
        self,
        offering: str,
        *,
        price: Price | Decimal | int | str,
        display_name: str = "",
        solution: str = "",
        unit: str = "",
        retired: bool = False,
        request_id: str = "",
        validate_only: bool = False,
    ) -> Offering:
        """Adds an offering. `price`: a Price, or just the credits of one unit.

        Raises OfferingAlreadyExists.
        """
        answer = await self._messages.create_offering(
            offering,
            price=_price(price),
            display_name=display_name,
            solution=solution,
            unit=unit,
            retired=retired,
            request_id=request_id,
            validate_only=validate_only,
        )
        return resources.offering(answer)

    async def update_offering(  # noqa: PLR0913 - a keyword for each field
        self,
        offering: str,
        *,
        price: Price | Decimal | int | str | None = None,
        display_name: str | None = None,
        solution: str | None = None,
        unit: str | None = None,
        retired: bool | None = None,
        etag: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Offering:
        """Changes what is given; a price is added as a new version, from its effective time on.

        Raises OfferingNotFound, EtagMismatch, InvalidField, LimitExceeded.
        """
        answer = await self._messages.update_offering(
            offering,
            price=None if price is None else _price(price),
            display_name=display_name,
            solution=solution,
            unit=unit,
            retired=retired,
            etag=etag,
            request_id=request_id,
            validate_only=validate_only,
        )
        return resources.offering(answer)

    async def get_offering(self, offering: str) -> Offering:
        """Raises OfferingNotFound."""
        return resources.offering(await self._messages.get_offering(offering))

    async def list_offerings(self, *, page_size: int = 0) -> AsyncGenerator[Offering, None]:
        """All, by id."""
        async for each in self._messages.list_offerings(page_size=page_size):
            yield resources.offering(each)


def _price(price: Price | Decimal | int | str) -> resources_pb2.Price:
    """Raises TypeError for a float: it would not be the number that was meant."""
    if isinstance(price, float):
        raise TypeError(f"a price is exact: give {str(price)!r}, not the float {price!r}")
    if not isinstance(price, Price):
        return price_message(price)
    return price_message(
        price.credits_per_block,
        block_units=price.block_units,
        max_credits=price.max_credits,
        effective_time=price.effective_time,
    )
