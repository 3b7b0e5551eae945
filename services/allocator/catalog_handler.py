"""CatalogService: wire to ledger and back."""

from earmark.v1 import catalog_service_pb2 as pb
from earmark.v1 import resources_pb2
from earmark.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from services.allocator.calling import Context, caller
from services.allocator.form import Form
from services.allocator.paging import key_from, page, page_size
from services.ledger.ledger import Ledger
from services.ledger.rules import limits
from services.ledger.rules.cataloguing import CreateOffering, Terms, UpdateOffering
from services.ledger.rules.refusal import offering_not_found
from services.wire import offering_message

SETTABLE = ("display_name", "solution", "unit", "price", "retired")


class CatalogHandler(CatalogServiceServicer):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def CreateOffering(self, request: pb.CreateOfferingRequest, context: Context) -> resources_pb2.Offering:
        form, sent = Form(), request.offering
        request_id = form.request_id("request_id", request.request_id)
        command = CreateOffering(
            offering=form.id("offering_id", request.offering_id),
            price=_terms(form, sent.price),
            display_name=form.text("offering.display_name", sent.display_name),
            solution=form.text("offering.solution", sent.solution),
            unit=form.text("offering.unit", sent.unit),
            retired=sent.retired,
        )
        who = caller(form, context)
        form.check()
        done = await self._ledger.change_catalog(
            command, request_id=request_id, validate_only=request.validate_only, seconds=who.seconds
        )
        return offering_message(*done)

    async def UpdateOffering(self, request: pb.UpdateOfferingRequest, context: Context) -> resources_pb2.Offering:
        form, sent = Form(), request.offering
        request_id = form.request_id("request_id", request.request_id)
        fields = form.mask("update_mask", request.update_mask, sent, SETTABLE)
        if "price" in fields and not sent.HasField("price"):
            form.fail("offering.price", "cannot be cleared; send a price, or leave it out of update_mask")
        texts = {
            field: form.text(f"offering.{field}", getattr(sent, field))
            for field in ("display_name", "solution", "unit")
            if field in fields
        }
        command = UpdateOffering(
            offering=form.offering("offering.name", sent.name),
            price=_terms(form, sent.price) if "price" in fields and sent.HasField("price") else None,
            retired=sent.retired if "retired" in fields else None,
            etag=form.etag("offering.etag", sent.etag),
            **texts,
        )
        who = caller(form, context)
        form.check()
        done = await self._ledger.change_catalog(
            command, request_id=request_id, validate_only=request.validate_only, seconds=who.seconds
        )
        return offering_message(*done)

    async def GetOffering(self, request: pb.GetOfferingRequest, context: Context) -> resources_pb2.Offering:
        form = Form()
        offering = form.offering("name", request.name)
        who = caller(form, context)
        form.check()
        async with self._ledger.snapshot(None, who.seconds) as snapshot:
            found = await snapshot.offering(offering)
        if found is None:
            raise offering_not_found(offering)
        return offering_message(found, snapshot.now)

    async def ListOfferings(self, request: pb.ListOfferingsRequest, context: Context) -> pb.ListOfferingsResponse:
        form = Form()
        size = page_size(form, request.page_size)
        who = caller(form, context)
        form.check()
        key = key_from(request.page_token, request)
        async with self._ledger.snapshot(None, who.seconds) as snapshot:
            found = await snapshot.offerings(key[0] if key else "", size + 1)
        shown, token = page(
            found,
            size,
            request,
            lambda item: offering_message(item, snapshot.now),
            lambda item: (item.offering,),
        )
        return pb.ListOfferingsResponse(offerings=shown, next_page_token=token)


def _terms(form: Form, sent: resources_pb2.Price) -> Terms:
    part = form.within("offering.price.")
    return Terms(
        credits_per_block=part.price("credits_per_block", sent.credits_per_block),
        block_units=part.whole("block_units", sent.block_units, 1, limits.UNITS_MAX)
        if sent.HasField("block_units")
        else 1,
        max_credits=part.whole("max_credits", sent.max_credits, 0, limits.CREDITS_MAX)
        if sent.HasField("max_credits")
        else None,
        effective_time=part.instant("effective_time", sent.effective_time) if sent.HasField("effective_time") else None,
    )
