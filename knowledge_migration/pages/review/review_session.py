"""One reviewer's session: what waits in the list, what lies open, what is already fetched, what was decided last.

Knows nothing of elements, so that all of it is tested without a browser. A decision is always about the proposal that it
names, never about "the one that is open": keys may come faster than pages are drawn. Whoever decides or undoes holds
`turn`, so that an undo means the decision before it, also while that one is under way.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.entity_kinds import EntityName
from knowledge_migration.knowledge.errors import InvalidError, KnowledgeError
from knowledge_migration.knowledge.proposals import listing, review
from knowledge_migration.knowledge.proposals.counting import count_proposals
from knowledge_migration.knowledge.proposals.history import last_decision_of
from knowledge_migration.knowledge.proposals.proposal_detail import Decided, ProposalDetail, Thresholds, proposal_detail
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.values import storable
from knowledge_migration.pages.review.filters import Filters
from knowledge_migration.pages.session import Session

log = logging.getLogger(__name__)

PAGE = 25
LONGEST_LIST = 200
SHORT = 60
RUNNING_LOW = 8
"""Proposals left in the list when the next ones are fetched."""

Action = Literal["approve", "reject", "merge", "undo"]
Counts = dict[EntityName, int | None]


@dataclass(frozen=True)
class Outcome:
    """What became of an action: done, done by somebody else before, or not possible; in what words; and what comes next."""

    how: Literal["done", "decided before", "refused", "failed"]
    words: str
    decided: Decided | None = None
    following: UUID | None = None

    @property
    def is_done(self) -> bool:
        """Whether it is as the reviewer wanted, by this reviewer."""
        return self.how == "done"


@dataclass
class ReviewSession:
    """The state of one reviewer's page."""

    service: KnowledgeService
    session: Session
    filters: Filters = field(default_factory=Filters)
    items: list[dict[str, Any]] = field(default_factory=list)
    counts: Counts = field(default_factory=dict)
    current: ProposalDetail | None = None
    done: list[tuple[UUID, ...]] = field(default_factory=list)
    skipped: set[UUID] = field(default_factory=set)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _entries: dict[UUID, int] = field(default_factory=dict)
    _ahead: dict[UUID, ProposalDetail] = field(default_factory=dict)
    _next_cursor: str | None = None
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def current_id(self) -> UUID | None:
        """The proposal that lies open."""
        return self.current.proposal["id"] if self.current else None

    @property
    def has_more(self) -> bool:
        """Whether the queue goes on beyond the list."""
        return self._next_cursor is not None

    @property
    def thresholds(self) -> Thresholds:
        """As the flags and the options say now."""
        flags = self.service.watcher.flags
        return Thresholds(flags.auto_approve_threshold, self.service.options.direct_threshold)

    async def load(self, filters: Filters | None = None) -> None:
        """The beginning of the queue; what was skipped comes up again."""
        if filters is not None:
            self.filters = filters
        page = await self._page(None)
        self.items, self._next_cursor = page.items, page.next_cursor
        self.skipped.clear()
        self._ahead.clear()

    async def load_more(self) -> list[dict[str, Any]]:
        """The next ones of the queue; returns those that are new in the list."""
        async with self._fetching:
            if self._next_cursor is None:
                return []
            page = await self._page(self._next_cursor)
            known = {item["id"] for item in self.items}
            new = [item for item in page.items if item["id"] not in known]
            self._next_cursor = page.next_cursor
            self.items += new
            return new

    async def count(self) -> Counts:
        """How many proposals the filters let through; None where counting takes too long."""
        self.counts = await self.service.in_transaction(count_proposals, self.filters.wanted())
        return self.counts

    async def open(self, proposal_id: UUID) -> ProposalDetail:
        """Puts a proposal on the screen, fetched ahead if it was. Raises `UnknownError`."""
        self.current = self._ahead.pop(proposal_id, None) or await self._look(proposal_id)
        return self.current

    async def look_again(self) -> ProposalDetail | None:
        """The open proposal as it is now."""
        looked_at = self.current_id
        if looked_at is not None:
            found = await self._look(looked_at)
            if self.current_id == looked_at:  # another one may have been opened meanwhile
                self.current = found
        return self.current

    async def look_ahead(self) -> None:
        """Fetches what `after` the open proposal comes, so that it stands there at once."""
        following = self.after(self.current_id)
        if following is None or following in self._ahead:
            return
        found = await self._look(following)
        self._ahead = {following: found}

    async def keep_full(self) -> list[dict[str, Any]]:
        """Fetches more before the list is empty; returns the new ones."""
        waiting = sum(item["id"] not in self.skipped for item in self.items)
        return await self.load_more() if waiting < RUNNING_LOW and len(self.items) < LONGEST_LIST else []

    def after(self, proposal_id: UUID | None, step: int = 1) -> UUID | None:
        """The one after (or before) a proposal that waits; where there is none, the first that waits."""
        ids = [item["id"] for item in self.items]
        waiting = [one for one in ids if one not in self.skipped and one != proposal_id]
        if proposal_id not in ids:
            return waiting[0] if waiting else None
        place = ids.index(proposal_id)
        beyond = ids[place + 1 :] if step > 0 else ids[:place][::-1]
        found = [one for one in beyond if one in waiting]
        return found[0] if found else (waiting[0] if step > 0 and waiting else None)

    def neighbour(self, proposal_id: UUID | None, step: int) -> UUID | None:
        """The next row of the list up or down, skipped ones too."""
        ids = [item["id"] for item in self.items]
        if proposal_id not in ids:
            return ids[0] if ids else None
        place = ids.index(proposal_id) + step
        return ids[place] if 0 <= place < len(ids) else None

    def skip(self, proposal_id: UUID) -> Outcome:
        """Leaves a proposal for later."""
        following = self.after(proposal_id)
        self.skipped.add(proposal_id)
        return Outcome("done", "Skipped.", following=following)

    async def decide(
        self,
        action: Action,
        proposal_id: UUID,
        *,
        notes: str | None = None,
        changes: Mapping[str, Any] | None = None,
        into: int | None = None,
        audit_id: int | None = None,
    ) -> Outcome:
        """One decision about one proposal; never raises for what a person can be told.

        An undo with `audit_id` takes back that decision and no later one.
        """
        works: dict[Action, tuple[Callable[..., Decision], tuple[Any, ...], dict[str, Any]]] = {
            "approve": (review.approve, (), {"changes": changes} if changes else {}),
            "reject": (review.reject, (), {}),
            "undo": (review.undo, (), {"audit_id": audit_id}),
            "merge": (review.merge, (into,), {}),
        }
        work, extra, named = works[action]
        reviewer = self.session.reviewer(notes)
        try:
            self.session.refuse_ended()
            _refuse_unstorable(notes or "")
            decision = await self.service.in_transaction(work, proposal_id, *extra, reviewer, **named)
        except KnowledgeError as error:
            return await self._refused(action, proposal_id, error)
        except Exception:
            log.exception("%s of proposal %s failed", action, proposal_id)
            return Outcome(
                "failed", "The service failed; its log says why. Nothing was decided, nothing typed is lost."
            )
        if not decision.changed:
            return await self._decided_before(action, proposal_id)
        if decision.audit_id is not None:
            self._entries[proposal_id] = decision.audit_id
        metrics.reviews.labels(action, decision.kind.name).inc()
        following, words = self.after(proposal_id), _told(action, decision, self._label(proposal_id))
        self._left(proposal_id, decision)
        return Outcome("done", words, following=following)

    async def undo_last(self) -> list[tuple[UUID, Outcome]]:
        """Takes back what this reviewer decided last: here, or before this page was opened."""
        ids = self.done.pop() if self.done else await self._decided_earlier()
        outcomes = [(one, await self.decide("undo", one, audit_id=self._entries.get(one))) for one in ids]
        failed = tuple(one for one, outcome in outcomes if outcome.how == "failed")
        if failed:
            self.done.append(failed)
        return outcomes

    async def _decided_earlier(self) -> tuple[UUID, ...]:
        """Before this page was opened. Of those who did not say who they are nobody knows which decision is whose."""
        reviewer: Reviewer = self.session.reviewer()
        if reviewer.user_id is None and self.service.options.has_tokens:
            return ()
        last = await self.service.in_transaction(last_decision_of, reviewer.actor, reviewer.user_id)
        return (last,) if last else ()

    def remember(self, *proposal_ids: UUID) -> None:
        """These were decided by one action, so that one undo takes all of them back."""
        self.done.append(proposal_ids)

    async def put_first(self, proposal_id: UUID) -> dict[str, Any] | None:
        """A proposal that came back, at the beginning of the list; None where it does not wait."""
        item = await self.service.in_transaction(listing.one_proposal, proposal_id)
        self.forget(proposal_id)
        if item["status"] not in review.DECIDABLE:
            return None
        self.skipped.discard(proposal_id)
        self.items.insert(0, item)
        return item

    async def was_decided(self) -> bool:
        """Whether somebody has decided about the open proposal since it was fetched."""
        if self.current_id is None:
            return False
        item = await self.service.in_transaction(listing.one_proposal, self.current_id)
        return item["status"] not in review.DECIDABLE

    def forget(self, proposal_id: UUID) -> None:
        """Takes a proposal off the list: it waits no longer."""
        self.items = [item for item in self.items if item["id"] != proposal_id]
        self._ahead.pop(proposal_id, None)

    def _label(self, proposal_id: UUID) -> str:
        """What a proposal on the screen or in the list is called, cut short; its kind where it is neither."""
        known = [self.current.proposal] if self.current else []
        found = next((item for item in (*known, *self.items) if item["id"] == proposal_id), None)
        label = (found.get("name") or found.get("title") or "") if found else ""
        return f"“{label[:SHORT]}{'…' if len(label) > SHORT else ''}”" if label else "the proposal"

    def _left(self, proposal_id: UUID, decision: Decision) -> None:
        if decision.status == "pending":
            return
        before = len(self.items)
        self.forget(proposal_id)
        waiting = self.counts.get(decision.kind.name)
        if waiting and len(self.items) < before:
            self.counts[decision.kind.name] = waiting - 1

    async def _refused(self, action: Action, proposal_id: UUID, error: KnowledgeError) -> Outcome:
        if error.status == 409 and action != "undo":
            return await self._decided_before(action, proposal_id)
        return Outcome("failed" if error.status >= 500 or error.status == 401 else "refused", str(error))

    async def _decided_before(self, action: Action, proposal_id: UUID) -> Outcome:
        """Somebody was faster, or there is nothing to take back."""
        try:
            found = await self._look(proposal_id)
        except KnowledgeError as error:
            return Outcome("refused", str(error))
        if action == "undo" and found.decided is not None:
            return Outcome("refused", "Its row stays, with the proposed values: other knowledge refers to it.")
        if found.decided is None:
            return Outcome("refused", "There is nothing to take back: the proposal waits for a decision.")
        return Outcome("decided before", "", found.decided)

    async def _page(self, cursor: str | None) -> listing.Page:
        return await self.service.in_transaction(listing.list_proposals, self.filters.wanted(), PAGE, cursor)

    async def _look(self, proposal_id: UUID) -> ProposalDetail:
        return await self.service.in_transaction(proposal_detail, proposal_id, self.thresholds)


def waits(look: ProposalDetail) -> bool:
    """Whether a proposal can be decided about."""
    return look.proposal["status"] in review.DECIDABLE


def _refuse_unstorable(notes: str) -> None:
    try:
        storable(notes)
    except ValueError as error:
        raise InvalidError(f"The reason {error}.") from error


def _told(action: Action, decision: Decision, label: str) -> str:
    name = f"{decision.kind.name} {decision.entity_id}"
    if action == "approve":
        return f"Approved {label}: {name}."
    if action == "merge":
        return f"Merged {label} into {name}."
    if action == "reject":
        return f"Rejected {label}."
    words = {"pending": "it waits for review again", "withdrawn": "its row is withdrawn and it waits for a decision"}
    return f"Taken back {label}: {words.get(decision.status, 'its row has the proposed values again')}."
