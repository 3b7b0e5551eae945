"""OrganizationService: wire to ledger and back."""

from earmark.v1 import organization_service_pb2 as pb
from earmark.v1 import resources_pb2
from earmark.v1.organization_service_pb2_grpc import OrganizationServiceServicer
from services.allocator.calling import Context, caller, change
from services.allocator.form import Form
from services.allocator.paging import key_from, page, page_size
from services.ledger.ledger import Ledger
from services.ledger.rules import limits
from services.ledger.rules.answers import Answer
from services.ledger.rules.commands import CreateOrganization, UpdateOrganization
from services.wire import (
    balance_message,
    consequences_message,
    organization_message,
    organization_state_message,
)

SETTABLE = ("display_name", "overdraft_limit", "overdraft_unlimited")


class OrganizationHandler(OrganizationServiceServicer):
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, context: Context
    ) -> pb.CreateOrganizationResponse:
        form, sent = Form(), request.organization
        organization = form.id("organization_id", request.organization_id)
        request_id = form.request_id("request_id", request.request_id)
        command = CreateOrganization(
            display_name=form.text("organization.display_name", sent.display_name),
            overdraft_limit=_overdraft(form, sent),
            overdraft_unlimited=sent.overdraft_unlimited,
        )
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        return pb.CreateOrganizationResponse(organization=_shown(answer), balance=balance_message(answer.balance))

    async def UpdateOrganization(
        self, request: pb.UpdateOrganizationRequest, context: Context
    ) -> pb.UpdateOrganizationResponse:
        form, sent = Form(), request.organization
        organization = form.organization("organization.name", sent.name)
        request_id = form.request_id("request_id", request.request_id)
        fields = form.mask("update_mask", request.update_mask, sent, SETTABLE)
        command = UpdateOrganization(
            display_name=form.text("organization.display_name", sent.display_name)
            if "display_name" in fields
            else None,
            overdraft_limit=_overdraft(form, sent) if "overdraft_limit" in fields else None,
            overdraft_unlimited=sent.overdraft_unlimited if "overdraft_unlimited" in fields else None,
            force=request.force,
            etag=form.etag("organization.etag", sent.etag),
        )
        who = caller(form, context)
        form.check()
        answer = await change(self._ledger, organization, command, request_id, request.validate_only, who)
        assert answer.outcome.consequences is not None
        return pb.UpdateOrganizationResponse(
            organization=_shown(answer),
            balance=balance_message(answer.balance),
            consequences=consequences_message(organization, answer.outcome.consequences),
        )

    async def GetOrganization(self, request: pb.GetOrganizationRequest, context: Context) -> resources_pb2.Organization:
        form = Form()
        organization = form.organization("name", request.name)
        who = caller(form, context)
        form.check()
        async with self._ledger.snapshot(organization, who.seconds) as snapshot:
            return organization_state_message(*snapshot.one_organization())

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: Context
    ) -> pb.ListOrganizationsResponse:
        form = Form()
        size = page_size(form, request.page_size)
        who = caller(form, context)
        form.check()
        key = key_from(request.page_token, request)
        async with self._ledger.snapshot(None, who.seconds) as snapshot:
            found = await snapshot.organizations(key[0] if key else "", size + 1)
        shown, token = page(
            found,
            size,
            request,
            lambda item: organization_state_message(*item),
            lambda item: (item[0].organization,),
        )
        return pb.ListOrganizationsResponse(organizations=shown, next_page_token=token)


def _shown(answer: Answer) -> resources_pb2.Organization:
    assert answer.outcome.organization is not None
    return organization_message(answer.outcome.organization, answer.balance)


def _overdraft(form: Form, sent: resources_pb2.Organization) -> int:
    return form.whole("organization.overdraft_limit", sent.overdraft_limit, 0, limits.CREDITS_MAX)
