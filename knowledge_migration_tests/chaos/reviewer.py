"""The one reviewer of a round: decides about proposals one by one and in bulk, and undoes decisions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowledge_migration_tests.chaos.journal import Table
from knowledge_migration_tests.chaos.users import ApiUser, NoAnswerError, Turns, User


@dataclass(eq=False)
class Reviewer(ApiUser):
    """The one reviewer: approves, corrects, rejects, merges, undoes, one by one and in bulk; hands new rows to `colleagues`."""

    colleagues: Sequence[User] = ()

    def work(self) -> None:
        turns: Turns = (
            (lambda: self.decide("approve"), 30),
            (lambda: self.decide("reject"), 12),
            (lambda: self.decide("merge"), 8),
            (self.undo, 15),
            (self.bulk, 10),
        )
        self.take_one(turns)

    def pending(self, limit: int) -> list[dict[str, Any]]:
        """Proposals that wait, of which the last decision is known."""
        sort = self.random.choice(("confidence", "created_at"))
        answer = self.ask("GET", f"/knowledge/proposals?limit={limit}&sort={sort}")
        items = answer.json()["items"] if answer.status_code == 200 else []
        decisions = self.journal.decisions
        return [one for one in items if one["id"] not in decisions or not decisions[one["id"]].uncertain]

    def decide(self, action: str) -> None:
        if not (items := self.pending(10)):
            return
        proposal = self.random.choice(items)
        table: Table = "topics" if proposal["entity_type"] == "topic" else "atoms"
        body: dict[str, Any] = {"user_id": self.random.choice(self.site.user_ids), "notes": self.text()}
        if action == "merge":
            if not (into := self.own(table)):
                return
            body["into_entity_id"] = into[1]
        if action == "approve" and self.random.random() < 0.2:
            column = "description" if table == "topics" else "content"
            body["changes"] = {column: f"corrected {self.text()}"}
        self.request(proposal["id"], table, action, body)

    def request(self, proposal_id: str, table: Table, action: str, body: dict[str, Any]) -> None:
        """One decision, and its answer in the journal."""
        try:
            answer = self.ask("POST", f"/knowledge/proposals/{proposal_id}/{action}", body)
        except NoAnswerError:
            return self.journal.unanswered_decision(proposal_id, table)
        if answer.status_code == 200:
            self.record(answer.json())
        return None

    def record(self, *answers: dict[str, Any]) -> None:
        """Acknowledged decisions; a new row of an approval may go to a colleague, who may edit it."""
        created: list[tuple[Table, int]] = []
        for decided in answers:
            table: Table = "topics" if decided["entity_type"] == "topic" else "atoms"
            self.journal.decided(decided["proposal_id"], table, decided["status"], decided["entity_id"])
            if decided["status"] == "approved" and decided["entity_id"] is not None:
                created.append((table, decided["entity_id"]))
        created = [key for key in created if key not in self.journal.rows]
        for key in created:
            self.journal.known(*key)
        for key in created:
            self.learn(*key)
            if self.random.random() < 0.3 and self.colleagues:
                self.random.choice(self.colleagues).inbox.put(key)

    def undo(self) -> None:
        mine = [key for key, one in self.journal.decisions.items() if one.status != "pending" and not one.uncertain]
        if mine:
            proposal_id = self.random.choice(mine)
            self.request(proposal_id, self.journal.decisions[proposal_id].table, "undo", {"notes": self.text()})

    def bulk(self) -> None:
        items = self.pending(8)
        if not items:
            return
        tables: dict[str, Table] = {one["id"]: "topics" if one["entity_type"] == "topic" else "atoms" for one in items}
        body = {"action": self.random.choice(("approve", "approve", "reject")), "proposal_ids": list(tables)}
        try:
            answer = self.ask("POST", "/knowledge/proposals/bulk", body)
        except NoAnswerError:
            for proposal_id, table in tables.items():
                self.journal.unanswered_decision(proposal_id, table)
            return
        if answer.status_code == 200:
            for one in answer.json()["undecided"]:
                if one["status"] >= 500:
                    self.journal.unanswered_decision(one["proposal_id"], tables[one["proposal_id"]])
            self.record(*answer.json()["decided"])
