"""The grammar of the built-in corpus, as plain data; `gpt.stories.grammar` samples and parses it.

A rule is a list of alternatives, one a line or separated by `|`. An alternative may begin with
its weight (`3: `); without one it weighs 1. Inside an alternative:

    {rule}               one alternative of that rule
    {slot=rule}          the same, and remember the words under the name `slot`
    {slot=rule!a!b}      the same, but never the words that slots a and b hold (`{rule!a}` too)
    {slot}               the remembered words again
    {slot.form}          a form of them, by FORMS: {hero.he} is "she" if the hero is Ida
    {^...}               any of these with a capital first letter
    /                    between spaces: a new paragraph

Two properties keep every story's probability exact, and tests prove them: of the alternatives of
a rule, none can begin with the whole of another (so that the text tells which one was taken, and
where a story ends), and a list that `!` draws from is uniform (so that entropies just add up).

A story has one hero, one friend, one thing, one colour, one place and one food. Each is drawn from
a list of equally likely words that every plot shares, and named again soon and often: a model that
learns to look back comes close to the entropy, one that does not stays far away.
"""

_GIRLS = """Anna | Bea | Clara | Daisy | Ella | Greta | Ida | June | Lily
    Mina | Nora | Olive | Polly | Rosa | Sally | Wendy"""
_BOYS = """Adam | Ben | Carl | David | Emil | George | Ivan | Jack | Leo
    Max | Noah | Oscar | Paul | Sam | Tom | Victor"""


def _items(table: str) -> list[str]:
    return [item.strip() for line in table.splitlines() for item in line.split("|")]


def _by_gender(hers: str, his: str) -> dict[str, str]:
    return dict.fromkeys(_items(_GIRLS), hers) | dict.fromkeys(_items(_BOYS), his)


FORMS: dict[str, dict[str, str]] = {
    "he": _by_gender("she", "he"),
    "his": _by_gender("her", "his"),
    "child": _by_gender("girl", "boy"),
}

# No list of adjectives and colours holds a word that would need "an".
_WORDS: dict[str, str] = {
    "girls": _GIRLS,
    "boys": _BOYS,
    "names": "{girls} | {boys}",
    "places": """mill | market | station | lighthouse | pond | bridge | harbour | river | well
        farm | castle | lake | school | beach | fountain | bakery""",
    "quaint": """noisy | old | quiet | sleepy | busy | shady | muddy | pretty | cosy | little
        lovely | peaceful | lively""",
    "elders": """grandmother | grandfather | aunt | uncle | mother | father | sister | brother
        cousin | godmother""",
    "animals": """hedgehog | otter | badger | squirrel | mouse | duck | fox | rabbit | frog
        owl | hen | donkey | mole | beaver | sparrow | tortoise""",
    "friends": """Pip | Pepper | Biscuit | Moss | Bramble | Nutmeg | Clover | Thimble | Pickle
        Ginger | Puddle | Acorn | Whisker | Dumpling | Tumble | Crumb""",
    "things": """kite | drum | scarf | hat | ball | bell | lantern | basket | parasol | whistle
        cup | box | flute | blanket | bag | book""",
    "colours": """red | blue | green | yellow | white | black | brown | pink | purple | grey
        golden | silver""",
    "sizes": """small | pretty | lovely | fine | plain | funny | handsome | little | big | tiny
        charming""",
    "traits": """kind | curious | brave | quiet | cheerful | clever | gentle | patient
        thoughtful | messy | busy | bold | polite | sleepy | shy | jolly | wise | hungry
        grumpy | careful""",
    "hobbies": """singing songs | painting stones | climbing trees | collecting shells
        drawing maps | building towers | reading riddles | planting beans | counting stars
        baking bread | watching clouds | telling jokes""",
    "weather": """sunny | windy | rainy | foggy | cloudy | frosty | warm | chilly | breezy
        misty | bright | mild""",
    "weekdays": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    "parts": "morning | afternoon | evening",
    "spots": """under a bush | behind a barrel | between two stones | inside a hollow log
        beneath a bench | in an empty nest | behind a gate | under a pile of leaves
        in an old boot | beside a fence | inside a clay pot | in the tall grass""",
    "highs": "on the roof | on a chimney | on a tall mast | in a tree | on a lamp post",
    "tools": "ladder | long pole | rope | fishing net | broom | rake",
    "foods": """apple pie | honey cake | plum jam | pea soup | warm bread | almond buns
        pancakes | goat cheese | pear pie | oat cakes | cherry tarts | baked apples
        buttered toast | carrot soup | rice pudding | roasted chestnuts""",
    "sads": """sad | worried | gloomy | upset | unhappy | miserable | glum | lonely | scared
        afraid""",
    "glads": "happy | glad | proud | cheerful | pleased | merry | delighted | thankful",
    "dances": """danced a jig | clapped | laughed out loud | sang a song | jumped for joy
        cheered | whistled a tune | spun around | bowed three times""",
    "manner": """kindly | gently | politely | at once | with a smile | with a nod | with a bow
        with a grin | bravely | eagerly | calmly | slowly | shyly | clearly | simply | firmly""",
    "sadly": """sadly | softly | quietly | tearfully | with a sigh | with a sob | with a sniff
        in a low voice""",
    "went": """walked | ran | hurried | skipped | strolled | wandered | marched | raced
        trotted | went""",
    "came": "came | wandered | strolled | trotted | hopped | shuffled",
    "looked": "looked | searched | peered | peeked | hunted | checked",
    "found": "found | spotted | noticed | discovered | saw",
    "soon": "Soon | Just then | Before long | Suddenly | After a while | By chance",
    "by": "by | along | past | nearer",
    "gave": "gave | handed | brought | returned",
    "later": "Later | Afterwards | Then | Together | After that",
    "asked": "asked | wondered | inquired",
    "ate": "ate | shared | enjoyed | had",
    "took": "caught | took | seized | lifted | stole",
    "freed": "freed | fetched | reached | rescued | got",
    "wild": "strong | sudden | wild | cheeky",
    "gone": "gone | missing | lost",
    "mud": "into a puddle | into the mud | into the nettles | into a ditch",
    "tasty": "tasty | lovely | splendid | fine | delicious | fresh | wonderful",
    "table": "supper | bedtime | the table | the door | the window | the gate",
    "named": "named | called",
    "says": "said | cried | called | announced",
    "moans": "said | cried | moaned | whispered",
    "replies": "said | replied | answered | declared",
}

# Who says it: always the whole rest of the sentence, up to its full stop.
_TAGS: dict[str, str] = {
    "hero_says": "2: {says} {hero}. | 2: {says} {hero} {manner}. | {hero.he} {says} {manner}.",
    "hero_replies": """2: {replies} {hero}. | 2: {replies} {hero} {manner}.
        {hero.he} {replies} {manner}.""",
    "hero_asks": "{asked} {hero}. | {asked} {hero} {manner}.",
    "hero_moans": "{moans} {hero}. | {moans} {hero} {sadly}. | {hero.he} {moans} {sadly}.",
    "friend_moans": "{moans} {pal}. | {moans} {pal} {sadly}.",
    "friend_replies": "{replies} {pal}. | {replies} {pal} {manner}.",
    "friend_asks": "{asked} {pal}. | {asked} {pal} {manner}.",
    "elder_asks": "2: {asked} {hero.his} {elders}. | {asked} {hero.his} {elders} at {table}.",
}

# Sentences that several plots share.
_BEATS: dict[str, str] = {
    "she": "2: {hero} | {hero.he}",
    "pal": "{friend} | the {animal}",
    "who": """
        {trait=traits} girl {named} {hero=girls}
        {trait=traits} boy {named} {hero=boys}""",
    "object": "{sizes} {colour=colours} {thing=things}",
    "owner": """
        Once upon a time a {who} had a {object}.
        There was a {who}, who had a {object}.
        A {who} had a {object}. {hero} loved the {colour} {thing}.
        {hero=names} was a {trait=traits} {hero.child} with a {object}.""",
    "idler": """
        Once upon a time a {who} loved {hobbies}.
        There was a {who}, who loved {hobbies}.
        A {who} was good at {hobbies}.
        {hero=names} was a {trait=traits} {hero.child} who liked {hobbies}.""",
    "when": "one {weather} {parts} | one {weather} {weekdays}",
    "newcomer": """
        a {traits!trait} {animal=animals} {named} {friend=friends}
        {friend=friends} the {animal=animals}""",
    "meeting": """
        {soon} {newcomer} {came} to the {scene}.
        {soon} {she} met {newcomer} at the {scene}.""",
    "joy": """
        {hero} was so {glads}!
        {hero} {dances}.
        "Thank you, {friend}!" {hero_says}""",
    "feast": """
        {later} {hero} and {friend} {ate} {tasty} {food=foods} at the {scene}.
        {later} they {ate} {tasty} {food=foods} at the {scene}.
        "Do you like {food=foods}?" asked {friend}. "I love {food}," {replies} {hero}.""",
    "ending": """
        "Where were you?" {elder_asks} "At the {scene}, with {friend} the {animal}," {hero_replies}
        "What did you eat?" {elder_asks} "{^food}, with {friend} the {animal}," {hero_replies}
        "Who was with you?" {elder_asks} "{friend} the {animal}, at the {scene}," {hero_replies}
        That night {hero} dreamed of {food} and the {colour} {thing}.
        And {friend} the {animal} never forgot {hero} and the {colour} {thing}.
        Ever since, {hero} and {friend} eat {food} at the {scene} every {weekdays}.""",
}

# Sentences of one plot each.
_SCENES: dict[str, str] = {
    # The hero loses the treasure, and a new friend finds it.
    "loss": """
        {^when} {hero} lost the {colour} {thing} near the {quaint} {scene=places}.
        {^when} {hero} {went} to the {quaint} {scene=places}, and the {colour} {thing} was \
            {gone}.""",
    "lost_cry": """
        "I have lost my {thing}," {hero_moans}
        "My {thing} is {gone}," {hero_moans}
        "I cannot find my {thing}," {hero_moans}""",
    "describe": """
        "Is your {thing} {colours!colour}?" {friend_asks} "No, my {thing} is {colour}," \
            {hero_replies}
        2: "What colour is your {thing}?" {friend_asks} "{^colour}," {hero_replies}""",
    "hunt": """
        2: {^pal} {found} the {colour} {thing} {spots}.
        {^pal} {looked} {spots} and {found} the {colour} {thing}.""",
    # The treasure is stuck high up.
    "gust": """
        {^when} near the {quaint} {scene=places} a {wild} wind {took} the {colour} {thing} and \
            left it {highs}.
        {^when} {hero} {went} to the {quaint} {scene=places}, and a {wild} wind left the {colour} \
            {thing} {highs}.""",
    "stuck_cry": """
        "I cannot reach my {thing}," {hero_moans}
        "My {thing} is up there," {hero_moans}""",
    "rescue": """
        With a {tools}, {pal} {freed} the {colour} {thing}.
        {hero} held a {tools}, and {pal} {freed} the {colour} {thing}.""",
    # The hero finds what the friend has lost.
    "discovery": """
        {^when} {hero} {went} to the {quaint} {scene=places} and {found} a {object}.
        {^when} {hero} {found} a {object} near the {quaint} {scene=places}.""",
    "claim": """
        "I have lost my {thing}," {friend_moans}
        "My {thing} is {gone}," {friend_moans}
        "I cannot find my {thing}," {friend_moans}""",
    "proof": """
        "Is your {thing} {colours!colour}?" {hero_asks} "No, my {thing} is {colour}," \
            {friend_replies}
        2: "What colour is your {thing}?" {hero_asks} "{^colour}," {friend_replies}""",
    "giving": """
        So {hero} {gave} the {colour} {thing} to {friend}, and {pal} {dances}.
        "Then I have found your {thing}," {hero_says} {^pal} {dances}.""",
    # A quarrel, and how it ended.
    "company": """
        {^when} {hero} and {newcomer} {found} a {object} near the {quaint} {scene=places}.
        {^when} {hero} {went} to the {quaint} {scene=places} with {newcomer} and {found} a \
            {object}.""",
    "quarrel": """
        "It is my {thing}," {hero_says} "No, it is my {thing}," {friend_replies}
        "I want the {colour} {thing}," {hero_says} "No, it is my {thing}," {friend_replies}""",
    "tug": """
        {hero} pulled, {friend} pulled, and the {colour} {thing} fell {mud}.
        Then the {colour} {thing} fell {mud} near the {scene}.""",
    "peace": """
        "Let us share the {colour} {thing}, {friend}," {hero_says}
        "You may have the {colour} {thing} every {weekdays}, {friend}," {hero_says}""",
    # A lost animal is brought home.
    "foundling": """
        {^when} {hero} met {newcomer}.
        {^when} {newcomer} {came} {by}.""",
    "plea": """
        "I am lost and {sads}," {friend_moans}
        "I am {sads}, for I lost my way," {friend_moans}
        "I cannot find my way home," {friend_moans}""",
    "address": """
        "Where do you live, {friend}?" {hero_asks} "Near the {scene=places}," {friend_replies}
        "Where is your home, {friend}?" {hero_asks} "By the {scene=places}," {friend_replies}""",
    "comfort": """
        "You may hold my {thing}," {hero_says}
        {hero} let {friend} hold the {colour} {thing}.""",
    "journey": """
        So {hero} and {friend} {went} to the {quaint} {scene}.
        With the {colour} {thing} {hero} and {pal} {went} to the {quaint} {scene}.""",
}

_PLOTS = """
    {owner} / {loss} {meeting} {lost_cry} {describe} / {hunt} {joy} {feast} / {ending}
    {owner} / {gust} {meeting} {stuck_cry} / {rescue} {joy} {feast} / {ending}
    {idler} / {discovery} {meeting} {claim} {proof} / {giving} {feast} / {ending}
    {idler} / {company} {quarrel} {tug} / {peace} {feast} / {ending}
    {owner} / {foundling} {plea} {address} / {comfort} {journey} {feast} / {ending}"""

RULES: dict[str, str] = _WORDS | _TAGS | _BEATS | _SCENES | {"story": _PLOTS}
