"""One reviewer's session: the list, the open proposal, prefetched proposals, and the decisions that undo can revert.

It uses no page elements, so tests need no browser. A decision names its proposal, because keys can be faster than the page
is drawn. A decision or undo holds `decision_lock`, so that an undo always means the decision before it.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from knowledge_migration.knowledge.decisions import Action, decide
from knowledge_migration.knowledge.entity_kinds import EntityKind, EntityName
from knowledge_migration.knowledge.errors import InvalidError, KnowledgeError
from knowledge_migration.knowledge.proposals import listing, review
from knowledge_migration.knowledge.proposals.existing import entities_named
from knowledge_migration.knowledge.proposals.history import last_decision_of
from knowledge_migration.knowledge.proposals.listing import count_proposals
from knowledge_migration.knowledge.proposals.proposal_detail import Decided, ProposalDetail, Thresholds, proposal_detail
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.values import storable
from knowledge_migration.pages.review.filters import Filters
from knowledge_migration.pages.session import Session

log = logging.getLogger(__name__)

PAGE = 25
LONGEST_LIST = 200
LONGEST_LABEL = 60
REFILL_BELOW = 8
"""Proposals left in the list when the next page is fetched."""

Counts = dict[EntityName, int | None]


@dataclass(frozen=True)
class Outcome:
    """The result of an action, a message for the reviewer, and the proposal to open next."""

    result: Literal["done", "decided before", "refused", "failed"]
    message: str
    decided: Decided | None = None
    next_id: UUID | None = None

    @property
    def is_done(self) -> bool:
        """Whether this reviewer's action was applied."""
        return self.result == "done"


@dataclass
class ReviewSession:
    """The state of one reviewer's page."""

    service: KnowledgeService
    session: Session
    filters: Filters = field(default_factory=Filters)
    items: list[dict[str, Any]] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)
    current: ProposalDetail | None = None
    decisions: list[tuple[UUID, ...]] = field(default_factory=list)
    skipped: set[UUID] = field(default_factory=set)
    decision_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _audit_ids: dict[UUID, int] = field(default_factory=dict)
    _prefetched: dict[UUID, ProposalDetail] = field(default_factory=dict)
    _next_cursor: str | None = None
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def current_id(self) -> UUID | None:
        """The id of the open proposal."""
        return self.current.proposal["id"] if self.current else None

    @property
    def has_more(self) -> bool:
        """Whether the queue is longer than the list."""
        return self._next_cursor is not None

    @property
    def thresholds(self) -> Thresholds:
        """The current thresholds of the flags and options."""
        return Thresholds(self.service.watcher.flags.auto_approve_threshold, self.service.options.direct_threshold)

    async def load(self) -> None:
        """Loads the first page of the queue; skipped proposals reappear."""
        page = await self._page(None)
        self.items, self._next_cursor = page.items, page.next_cursor
        self.skipped.clear()
        self._prefetched.clear()

    async def load_more(self) -> list[dict[str, Any]]:
        """Loads the next page; returns the proposals that are new in the list."""
        async with self._fetching:
            if self._next_cursor is None:
                return []
            page = await self._page(self._next_cursor)
            known = {item["id"] for item in self.items}
            new = [item for item in page.items if item["id"] not in known]
            self._next_cursor = page.next_cursor
            self.items += new
            return new

    async def refill(self) -> list[dict[str, Any]]:
        """Loads the next page if few proposals are left in the list; returns the new ones."""
        waiting = sum(item["id"] not in self.skipped for item in self.items)
        return await self.load_more() if waiting < REFILL_BELOW and len(self.items) < LONGEST_LIST else []

    async def count(self) -> Counts:
        """The number of proposals that match the filters; None if counting takes too long."""
        self.counts = await self.service.in_transaction(count_proposals, self.filters.wanted())
        return self.counts

    async def open(self, proposal_id: UUID) -> ProposalDetail:
        """Makes a proposal the current one, prefetched if possible. Raises `UnknownError`."""
        self.current = self._prefetched.pop(proposal_id, None) or await self._read(proposal_id)
        return self.current

    async def refresh(self) -> None:
        """Reads the open proposal again."""
        proposal_id = self.current_id
        if proposal_id is not None:
            detail = await self._read(proposal_id)
            if self.current_id == proposal_id:  # another one may have been opened meanwhile
                self.current = detail

    async def prefetch(self) -> None:
        """Reads the proposal after the open one, so that it can be displayed immediately."""
        next_id = self.next_after(self.current_id)
        if next_id is not None and next_id not in self._prefetched:
            self._prefetched = {next_id: await self._read(next_id)}

    def next_after(self, proposal_id: UUID | None) -> UUID | None:
        """The next proposal in the list that was not skipped; the list continues at its beginning."""
        ids = [item["id"] for item in self.items]
        start = ids.index(proposal_id) + 1 if proposal_id in ids else 0
        following = (one for one in ids[start:] + ids[:start] if one not in self.skipped and one != proposal_id)
        return next(following, None)

    def neighbour(self, proposal_id: UUID | None, step: int) -> UUID | None:
        """The next row of the list up or down, including skipped ones."""
        ids = [item["id"] for item in self.items]
        if proposal_id not in ids:
            return ids[0] if ids else None
        place = ids.index(proposal_id) + step
        return ids[place] if 0 <= place < len(ids) else None

    def skip(self, proposal_id: UUID) -> Outcome:
        """Leaves a proposal for later."""
        next_id = self.next_after(proposal_id)
        self.skipped.add(proposal_id)
        return Outcome("done", "Skipped.", next_id=next_id)

    async def decide(self, action: Action, proposal_id: UUID, *, notes: str | None = None, **options: Any) -> Outcome:
        """Makes one decision; never raises. `options` are `changes`, `into_entity_id` or `audit_id`.

        An undo with `audit_id` reverts that decision and no later one.
        """
        try:
            self.session.refuse_ended()
            _refuse_unstorable(notes or "")
            decision = await decide(self.service, action, proposal_id, self.session.reviewer(notes), **options)
        except KnowledgeError as error:
            return await self._refused(action, proposal_id, error)
        except Exception:
            log.exception("%s of proposal %s failed", action, proposal_id)
            return Outcome("failed", "The service failed; see its log. Nothing was decided, and your text is kept.")
        if not decision.changed:
            return await self._decided_before(action, proposal_id)
        if decision.audit_id is not None:
            self._audit_ids[proposal_id] = decision.audit_id
        next_id, message = self.next_after(proposal_id), _message(action, decision, self._label(proposal_id))
        self._leave(proposal_id, decision)
        return Outcome("done", message, next_id=next_id)

    async def undo_last(self) -> list[tuple[UUID, Outcome]]:
        """Undoes this reviewer's last decision, of this page or of before it was opened."""
        ids = reversed(self.decisions.pop() if self.decisions else await self._earlier_decision())
        outcomes = [(one, await self.decide("undo", one, audit_id=self._audit_ids.get(one))) for one in ids]
        failed = tuple(one for one, outcome in outcomes if outcome.result == "failed")
        if failed:
            self.decisions.append(failed[::-1])
        return outcomes

    async def _earlier_decision(self) -> tuple[UUID, ...]:
        """The decision before this page was opened; none if the reviewer is not identified."""
        reviewer: Reviewer = self.session.reviewer()
        if reviewer.user_id is None and self.service.options.has_tokens:
            return ()
        last = await self.service.in_transaction(last_decision_of, reviewer.actor, reviewer.user_id)
        return (last,) if last else ()

    def remember(self, *proposal_ids: UUID) -> None:
        """Records that one action decided these proposals, so that one undo reverts all of them, the last first."""
        self.decisions.append(proposal_ids)

    async def put_first(self, proposal_id: UUID) -> dict[str, Any] | None:
        """Puts a reopened proposal at the beginning of the list; None if it cannot be decided."""
        item = await self.service.in_transaction(listing.one_proposal, proposal_id)
        self.remove(proposal_id)
        if item["status"] not in review.DECIDABLE:
            return None
        self.skipped.discard(proposal_id)
        self.items.insert(0, item)
        return item

    async def was_decided(self) -> bool:
        """Whether somebody has decided the open proposal since it was read."""
        if self.current_id is None:
            return False
        item = await self.service.in_transaction(listing.one_proposal, self.current_id)
        return item["status"] not in review.DECIDABLE

    def remove(self, proposal_id: UUID) -> None:
        """Removes a proposal from the list."""
        self.items = [item for item in self.items if item["id"] != proposal_id]
        self._prefetched.pop(proposal_id, None)

    def _label(self, proposal_id: UUID) -> str:
        """The name or title of the open proposal or one in the list, shortened."""
        known = [self.current.proposal] if self.current else []
        proposal: Mapping[str, Any] = next((one for one in (*known, *self.items) if one["id"] == proposal_id), {})
        label = proposal.get("name") or proposal.get("title") or ""
        return f"“{label[:LONGEST_LABEL]}{'…' if len(label) > LONGEST_LABEL else ''}”" if label else "the proposal"

    def _leave(self, proposal_id: UUID, decision: Decision) -> None:
        if decision.status == "pending":
            return
        length = len(self.items)
        self.remove(proposal_id)
        waiting = self.counts.get(decision.kind.name)
        if waiting and len(self.items) < length:
            self.counts[decision.kind.name] = waiting - 1

    async def _refused(self, action: Action, proposal_id: UUID, error: KnowledgeError) -> Outcome:
        if error.status == 409 and action != "undo":
            return await self._decided_before(action, proposal_id)
        return Outcome("failed" if error.status >= 500 or error.status == 401 else "refused", str(error))

    async def _decided_before(self, action: Action, proposal_id: UUID) -> Outcome:
        """The outcome if another reviewer was faster, or nothing can be undone."""
        try:
            detail = await self._read(proposal_id)
        except KnowledgeError as error:
            return Outcome("refused", str(error))
        if detail.decided is None:
            return Outcome("refused", "Nothing can be undone: the proposal is waiting for a decision.")
        return Outcome("decided before", "", detail.decided)

    async def find_entities(self, kind: EntityKind, text: str) -> list[tuple[int, str]]:
        """Existing rows by a part of their name, the closest first."""
        return await self.service.in_transaction(entities_named, kind, text)

    async def _page(self, cursor: str | None) -> listing.Page:
        return await self.service.in_transaction(listing.list_proposals, self.filters.wanted(), PAGE, cursor)

    async def _read(self, proposal_id: UUID) -> ProposalDetail:
        return await self.service.in_transaction(proposal_detail, proposal_id, self.thresholds)


def is_decidable(detail: ProposalDetail) -> bool:
    """Whether a reviewer can decide a proposal."""
    return detail.proposal["status"] in review.DECIDABLE


def _refuse_unstorable(notes: str) -> None:
    try:
        storable(notes)
    except ValueError as error:
        raise InvalidError(f"The reason {error}.") from error


def _message(action: Action, decision: Decision, label: str) -> str:
    row = f"{decision.kind.name} {decision.entity_id}"
    if action == "undo":
        return f"Undone: {label}. It is waiting for review again."
    return {
        "approve": f"Approved {label}: {row}.",
        "merge": f"Merged {label} into {row}.",
        "reject": f"Rejected {label}.",
    }[action]
