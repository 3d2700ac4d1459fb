"""English words that name no subject: of commits, of talk, of questions. Lists only; what they mean is where they are used."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


COMMIT_VERBS = _words(
    "add adds added adding update updates updated updating fix fixes fixed fixing create creates created remove removes "
    "removed removing delete deletes deleted rename renames renamed move moves moved replace replaces replaced improve "
    "improves improved improving refactor refactored revert reverts reverted implement implements implemented introduce "
    "introduces introduced support supports correct corrects corrected change changes changed bump bumps bumped merge "
    "enable enables enabled disable disables disabled document documents documented translate translated use uses "
    "switch switches switched drop drops dropped deprecate deprecates deprecated clarify clarifies clarified simplify "
    "simplifies simplified allow allows allowed announce publish expand extend edit edited include included split"
)

# what a change to any subject may be about: no subject by themselves, but they may end one ("login page")
GENERIC_WORDS = _words(
    "docs doc documentation topic topics page pages file files test tests support translation translations example "
    "examples description descriptions typo typos link links content text image images logo readme readme.md bug bugs "
    "error errors issue issues crash warning feature features code version versions command commands option options "
    "new missing broken more some draft initial first minor small stuff section sections entry info information alias "
    "aliases formatting style syntax wording spelling grammar title name names a an the this that its it all various "
    "several other another unused old few to as my your our their not no also only summaries summary newsletter "
    "newsletters format project projects author authors index index.md pull request requests branch "
    "english french german spanish italian portuguese brazilian russian ukrainian chinese japanese korean arabic "
    "turkish dutch swedish danish norwegian finnish polish czech hindi tamil bengali persian indonesian romanian"
)

# words of talk; yake's English list has the grammatical ones only
FILLER_WORDS = COMMIT_VERBS | _words(
    "yeah yes yep nope okay ok sure hey hi hello thanks thank please sorry well oh um uh hmm wow lol maybe perhaps "
    "actually basically really pretty quite kind sort bit lot lots guess think thinks thinking thought feel say says "
    "said saying talk talked talking mention mentioned know knows known want wants wanted need needs needed get gets "
    "getting got gotten make makes making made take takes taking took put puts give gives given giving gave go goes "
    "going gone went come comes coming came see sees seeing seen look looks looking looked try tries trying tried "
    "work works working worked happen happens happening happened start starts started starting stop keep keeps kept "
    "let lets mean means meant thing things something anything everything nothing someone anyone everyone people "
    "person guy guys folks man way ways part parts time times day days week weeks month months year years today "
    "tomorrow yesterday monday tuesday wednesday thursday friday saturday sunday morning good great nice cool bad "
    "better best big bigger little hard easy interesting interested important different similar certain right left "
    "able possible true false real main whole full long short high low quick quickly fast soon later early ago idea "
    "ideas question questions answer answers point points case cases reason reasons problem problems number numbers "
    "amount fact side end ends ending place places step steps changing run runs running ran call calls called calling "
    "show shows showed shown find finds found finding help helps helped using used useful set sets read reading "
    "write wrote written open close closed turn turns turned ask asks asked asking tell tells told explain explained "
    "describe described discuss discussed discussing discussion comment comments jump jumping join joined joining "
    "hear heard appreciate hope hoping wonder wondering wondered correctly exactly absolutely definitely probably "
    "obviously clearly simply currently recently already yet still especially specifically essentially generally "
    "usually hand hands highlight highlighted suggest suggested apply based general opposed particular relevant "
    "related specific involved bring brought including allowing follow following followed previous previously "
    "current latest existing upcoming cannot can't don't doesn't didn't won't wouldn't couldn't shouldn't isn't "
    "aren't wasn't weren't haven't hasn't it's that's there's what's let's i'm i've i'd i'll you're you've you'll "
    "we're we've we'll they're they've item items list lists word words couple bunch plenty rest top bottom half "
    "kinds types type form forms sense order hours hour minutes minute seconds second third last next wrap gonna "
    "wanna gotta ahead forward awesome lost lose losing deal deals post posts posted aware effect effects actual "
    "actively communicate slightly versus terms originally created wait waiting love loved like likes liked notice "
    "noticed wrong expect expected happy guest thread tweet audio slide slides speak speaking spoke figure figured "
    "pls plz lgtm return returns raise raises seem seems "
    "understand understanding understood believe agree agreed disagree whatever"
)

INTERROGATIVES = _words(
    "what why how when where which who whom whose is are was were do does did can could should would will has have am "
    "isn't aren't doesn't don't didn't can't couldn't shouldn't wouldn't won't any anyone"
)

# what may stand before a sentence really starts
OPENERS = _words(
    "and so but well yeah yes no okay ok oh um uh like right sure actually basically i mean hey hi hello now then also "
    "alright absolutely exactly definitely guess think please"
)
