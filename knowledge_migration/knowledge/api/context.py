"""Parameters that routes share: the service of this process, and paging."""

from typing import Annotated

from fastapi import Depends, Query, Request

from knowledge_migration.knowledge.service import KnowledgeService


def service_of(request: Request) -> KnowledgeService:
    """The service of the application."""
    service: KnowledgeService = request.app.state.service
    return service


Service = Annotated[KnowledgeService, Depends(service_of)]
Limit = Annotated[int, Query(ge=1, le=200, description="Number of items per page.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the previous page.")]
