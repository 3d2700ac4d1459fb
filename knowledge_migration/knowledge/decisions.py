"""One decision of a reviewer, as the API and the review page make it: in its own transaction, counted in the metrics."""

from collections.abc import Callable, Mapping
from typing import Any, Literal
from uuid import UUID

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration.knowledge.service import KnowledgeService

Action = Literal["approve", "reject", "merge", "undo"]
FUNCTIONS: Mapping[Action, Callable[..., Decision]] = {
    "approve": review.approve,
    "reject": review.reject,
    "merge": review.merge,
    "undo": undo.undo,
}


async def decide(
    service: KnowledgeService, action: Action, proposal_id: UUID, reviewer: Reviewer, **options: Any
) -> Decision:
    """Approves, rejects, merges or undoes; `options` are those of the action's function. Raises a `KnowledgeError`."""
    decision = await service.in_transaction(FUNCTIONS[action], proposal_id, reviewer=reviewer, **options)
    if decision.changed:
        metrics.reviews.labels(action, decision.kind.name).inc()
    return decision
