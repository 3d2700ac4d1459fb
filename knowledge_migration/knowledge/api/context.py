"""What every route gets: the service of this process."""

from typing import Annotated

from fastapi import Depends, Query, Request

from knowledge_migration.knowledge.service import KnowledgeService


def service_of(request: Request) -> KnowledgeService:
    """The service that the application was made with."""
    service: KnowledgeService = request.app.state.service
    return service


Service = Annotated[KnowledgeService, Depends(service_of)]
Limit = Annotated[int, Query(ge=1, le=200, description="Items on a page.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]
