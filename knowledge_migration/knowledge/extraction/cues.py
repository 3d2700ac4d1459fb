"""The English cues that tell a sentence's role: labels before it, phrases in it, and words that hedge it."""

from collections.abc import Mapping
from enum import IntEnum

from knowledge_migration.knowledge.extraction.model import AtomType


class Strength(IntEnum):
    """How plainly a cue tells the role."""

    HINT = 1
    CLEAR = 2
    EXPLICIT = 3


LABELS: Mapping[str, AtomType] = {
    **dict.fromkeys(("problem", "bug", "issue", "error", "risk", "symptom", "regression"), "problem"),
    **dict.fromkeys(("solution", "fix", "fixed", "workaround", "answer", "resolution", "a"), "solution"),
    **dict.fromkeys(("decision", "decided", "agreed", "adr", "outcome"), "decision"),
    **dict.fromkeys(("question", "q", "open question"), "question"),
    **dict.fromkeys(("insight", "note", "til", "lesson", "finding", "learned", "takeaway", "conclusion"), "insight"),
    **dict.fromkeys(("pattern", "convention", "best practice", "rule of thumb"), "pattern"),
    **dict.fromkeys(("requirement", "todo", "must", "acceptance criteria", "constraint"), "requirement"),
}

# "|" parts the cues; one that starts with "^" counts at the sentence's start only
CUES: tuple[tuple[AtomType | None, Strength, str], ...] = (
    (None, Strength.HINT,
     "must have been|must have|must've|must be that|no problem|not a problem|a must|what must|if you must|not required|"
     "don't have to|doesn't have to|do not have to|does not have to|have to say|have to admit|should have|should be fine|"
     "should i|attack on titan|error handling|error message|error messages|bug tracker|bug report|as always|trial and error|"
     "we'll see|we will see|we'll be|we will be|we'll get|we'll jump|we'll start|we'll go|let's see|let's start|"
     "let's jump|let's go ahead|let's move|let's talk|let's say|thanks for pointing|no issue|no issues|this issue|"
     "see issue|needs to be said|if you need to|you need to be|not always|turn to|for some reason|that reason|"
     "because of that reason|i don't know because|not sure because"),
    ("problem", Strength.CLEAR,
     "the problem is|problem is that|the issue is|issue is that|doesn't work|does not work|don't work|didn't work|"
     "not working|stopped working|is broken|are broken|was broken|crash|crashes|crashed|crashing|fails|failed|failing|"
     "failure|failures|regression|deadlock|race condition|memory leak|data loss|vulnerability|vulnerabilities|"
     "vulnerable|exploit|exploited|bug|bugs|unable to|can't be|cannot be|won't start|times out|timed out|"
     "throws an|throws a|raises an|returns an error|returns 500|returns 404|error 500|"
     "get an error|getting an error|an error|stuck|the downside|"
     "downside is|drawback|drawbacks|bottleneck|outage|corrupted|out of memory|"
     "point of failure|points of failure|the concern is|main concern|"
     "the challenge|the challenge is|denial of service|dos attack|attack|attacks|attacker can|attacker could|"
     "the trouble is|doesn't scale|does not scale|too slow|is missing|gets lost"),
    ("problem", Strength.HINT,
     "problem|problems|issue|issues|concern|concerns|unfortunately|difficult|expensive|error|errors|wrong|broken|"
     "confusing|slow|attacker|attackers|risk|risks|risky|lose|lost|can't|cannot|tricky|challenge|limitation|limitations"),
    ("solution", Strength.CLEAR,
     "the solution is|solution is to|solution would be|the fix is|fixed by|fixes|fixed|resolves|resolved|solved by|solves|"
     "workaround|work around|to fix this|to solve this|to avoid this|to prevent this|this prevents|which prevents|"
     "instead use|use this instead|works now|you can use|you could use|you can also|we can use|one way to|the way to|"
     "a way to|makes it possible|this allows|which allows|this enables|which enables|addresses this|address this issue|"
     "addresses the issue|mitigates|mitigate|mitigation|the answer is|try running|you need to run|install the|^try|"
     "^fix|^fixes|^fixed|^use|^run|^resolve|^correct|^solve"),
    ("solution", Strength.HINT,
     "solution|solutions|instead of|fix|by using|allows|allowing|you can|avoids|prevents|improves|we can|enables|it adds"),
    ("decision", Strength.CLEAR,
     "we decided|i decided|decided to|have decided|decided that|we agreed|agreed to|agreed on|agreed that|we chose|"
     "we've chosen|chose to|let's use|let's go with|let's do|we will use|we'll use|we'll go with|we are going with|"
     "we're going with|going to use|settled on|opted for|opted to|the decision|our decision|the plan is|"
     "our plan is|plan is to|we plan to|consensus was|consensus is|was accepted|was rejected|was approved|was merged|"
     "has been merged|got merged|no longer supports|no longer supported|is deprecated|deprecates|has been removed|"
     "is now the default|by default now|now uses|will now|now requires|^remove|^removed|^removes|^replace|^replaces|"
     "^switch|^drop|^drops|^deprecate|^revert|^rename|^migrate|^disable|^enable|^require|^move"),
    ("decision", Strength.HINT,
     "^add|^adds|^added|^update|^updates|^updated|^implement|^introduce|we will|we're going to|we are going to|"
     "decision|merged|now supports|begins|updates|adds support"),
    ("question", Strength.CLEAR,
     "does anyone know|does anybody know|anyone know|any idea|any ideas|how do i|how can i|how do we|how should we|"
     "what is the best way|is there a way|is it possible to|i was wondering|i'm wondering|wondering if|wondering whether|"
     "wondering why|wondering how|the question is|my question is|question is whether|not sure whether|unclear whether|"
     "open question"),
    ("insight", Strength.CLEAR,
     "turns out|turned out|it appears that|i noticed|we noticed|i learned|we learned|i realized|we realized|found that|"
     "found out|discovered|we found|i found|the reason is|reason for this|the reason why|reason is that|is because|"
     "which means|this means|that means|means that|in other words|the key is|key insight|the point is|as a result|"
     "it's important|important to note|note that|worth noting|keep in mind|interestingly|the advantage|the benefit|"
     "main advantage|main benefit|the difference is|difference between|the idea is|idea is that|basic idea|"
     "is caused by|was caused by|root cause|the cause|due to the|the trade-off|tradeoff|trade-off|tradeoffs|trade-offs|"
     "we measured|it depends on|the more|the less|lesson|research shows|shows that|is a type of|"
     "is defined as|is known as|refers to"),
    ("insight", Strength.HINT,
     "because|therefore|so that|since|this is why|that's why|which is why|basically|actually|useful|the fact that|"
     "essentially|is called|is used to|are used to|is a|are a|describes|summarizes"),
    ("pattern", Strength.CLEAR,
     "every time|each time|whenever|always|usually|typically|in most cases|most of the time|tends to|tend to|"
     "keeps happening|over and over|again and again|common pattern|the pattern|best practice|best practices|"
     "rule of thumb|by convention|common practice|as a rule|recurring|happens when"),
    ("pattern", Strength.HINT, "often|in general|generally|commonly|common|regularly|normally|pattern|patterns|frequently"),
    ("requirement", Strength.EXPLICIT, "must|must not|mustn't|shall|is required to|are required to|is mandatory|are mandatory"),
    ("requirement", Strength.CLEAR,
     "is required|are required|required for|we need to|you need to|they need to|we have to|you have to|they have to|"
     "needs to|has to|requires|required|requirement|"
     "requirements|make sure|ensure|ensures|at least|at most|no more than|prerequisite|it is necessary|is necessary|"
     "should be|should not|shouldn't|should always|should never|has to be|need to be"),
    ("requirement", Strength.HINT,
     "should|need|needs|need to|have to|needed to|ought to|necessary|would need|would have to|supposed to"),
)  # fmt: skip

HEDGES = (
    "i think|i guess|maybe|perhaps|probably|might|kind of|sort of|i don't know|not sure|i believe|i suppose|you know|"
    "i mean|if i understand|i assume|could be|seems like|it seems|i'd say"
)
