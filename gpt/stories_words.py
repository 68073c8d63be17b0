"""The grammar of the built-in corpus, as plain data; `gpt.stories` speaks and reads it.

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

Most of a story's entropy sits in short lists of equally likely words that every plot shares, and
what comes back later is a plain copy: a model needs attention, but little data.
"""

_GIRLS = """Anna | Bea | Clara | Daisy | Ella | Greta | Ida | June | Lily
    Mina | Nora | Olive | Polly | Rosa | Sally | Wendy"""
_BOYS = """Adam | Ben | Carl | David | Emil | George | Ivan | Jack | Leo
    Max | Noah | Oscar | Paul | Sam | Tom | Victor"""
_PLACES = """at the mill | at the market | at the station | at the lighthouse | behind the school
    beside the pond | by the bridge | by the harbour | by the river | by the well | in the barn
    in the forest | in the garden | in the meadow | in the orchard | on the beach"""


def _items(table: str) -> list[str]:
    return [item.strip() for line in table.splitlines() for item in line.split("|")]


def _by_gender(hers: str, his: str) -> dict[str, str]:
    return dict.fromkeys(_items(_GIRLS), hers) | dict.fromkeys(_items(_BOYS), his)


# "in the garden" -> "garden": the grammar remembers the noun, and FORMS gives the rest back.
_WHERE = {phrase.split(" the ")[1]: phrase for phrase in _items(_PLACES)}

FORMS: dict[str, dict[str, str]] = {
    "he": _by_gender("she", "he"),
    "his": _by_gender("her", "his"),
    "him": _by_gender("her", "him"),
    "child": _by_gender("girl", "boy"),
    "at": _WHERE,
}

# No list of adjectives and colours holds a word that would need "an".
_WORDS: dict[str, str] = {
    "girls": _GIRLS,
    "boys": _BOYS,
    "names": "{girls} | {boys}",
    "places": " | ".join(_WHERE),
    "quaint": """noisy | little | quiet | sleepy | busy | misty | windy | sunny | shady | muddy
        pretty | cosy""",
    "elders": """grandmother | grandfather | aunt | uncle | mother | father | sister | brother
        cousin | godmother""",
    "owners": "baker | miller | fisherman | postman | teacher | gardener | tailor | doctor",
    "animals": """hedgehog | otter | badger | squirrel | mouse | duck | fox | rabbit | frog
        owl | hen | donkey | mole | beaver | sparrow | tortoise""",
    "friends": """Pip | Pepper | Biscuit | Moss | Bramble | Nutmeg | Clover | Thimble | Pickle
        Ginger | Puddle | Acorn | Whisker | Dumpling | Tumble | Crumb""",
    "things": """kite | drum | scarf | hat | ball | bell | lantern | basket | parasol | whistle
        cup | box | flute | blanket | bag | book""",
    "colours": """red | blue | green | yellow | white | black | brown | pink | purple | grey
        golden | silver""",
    "marks": """star | moon | fish | heart | crown | leaf | bird | flower | snail | ship | sun
        bee""",
    "sizes": """small | pretty | lovely | fine | plain | funny | handsome | little | big | tiny
        charming""",
    "traits": """kind | curious | brave | quiet | cheerful | clever | gentle | patient
        thoughtful | messy | busy | bold | polite | sleepy | shy | jolly | wise | hungry
        grumpy | careful""",
    "hobbies": """singing songs | painting stones | climbing trees | collecting shells
        drawing maps | building towers | reading books | planting beans | counting stars
        baking bread | watching clouds | feeding birds""",
    "weather": """sunny | windy | rainy | foggy | cloudy | frosty | warm | chilly | breezy
        misty | bright | mild""",
    "weekdays": "Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday",
    "parts": "morning | afternoon | evening",
    "spots": """under a bush | behind a barrel | between two stones | inside a hollow log
        beneath a bench | in an empty nest | behind a gate | under a pile of leaves
        in an old boot | beside a fence | inside a clay pot | in the tall grass""",
    "nothing": """nothing | only dust | only an old shoe | only a sleepy spider | only cobwebs
        only a spoon | only two feathers""",
    "highs": "on the roof | on a chimney | on a tall mast | in an apple tree | on a lamp post",
    "tools": "a ladder | a long pole | a rope | a fishing net | a broom | a rake",
    "sights": "a windmill | three cows | an empty cart | a haystack | a sleeping dog",
    "storms": "snow | thunder | a thick fog | heavy rain",
    "shelters": "under a bridge | in a hut | behind a wall | in a hollow tree",
    "foods": """apple pie | honey cake | plum jam | pea soup | warm bread | almond buns
        pancakes | goat cheese | pear pie | oat cakes | cherry tarts | mint tea
        buttered toast | carrot soup | rice pudding | roasted chestnuts""",
    "sads": """sad | worried | gloomy | upset | unhappy | miserable | glum | lonely | sorry
        tearful""",
    "glads": "happy | glad | proud | cheerful | pleased | merry | delighted | thankful",
    "very": "very | rather | quite | terribly",
    "dances": """danced a jig | clapped | laughed out loud | sang a song | jumped for joy
        cheered | whistled a tune | spun around | bowed three times""",
    "sing": "sing | speak | eat | laugh | play | sleep",
    "manner": """softly | kindly | quietly | gently | politely | at once | with a smile
        with a nod | bravely | eagerly | calmly | slowly | shyly | clearly | simply | firmly
        in a low voice | with a bow""",
    "went": """walked | ran | hurried | skipped | strolled | wandered | marched | raced
        trotted | went""",
    "pace": """merrily | slowly | quickly | alone | barefoot | straight | bravely | lazily
        quietly | happily""",
    "came": "came | wandered | strolled | trotted | hopped | shuffled",
    "looked": "looked | searched | peered | peeked | hunted | checked",
    "found": "found | spotted | noticed | discovered | saw",
    "soon": "Soon | Just then | Before long | Suddenly | At last | After a while",
    "by": "by | along | past | nearer",
    "gave": "gave | handed | brought | made",
    "later": "Later | Afterwards | Then | Together | After that",
    "smiled": "smiled | laughed | yawned | nodded | waved | bowed",
    "asked": "asked | wondered | inquired",
    "ate": "ate | shared | enjoyed | had",
    "took": "caught | took | seized | lifted | stole",
    "freed": "freed | fetched | reached | rescued | got",
    "wild": "strong | sudden | wild | cheeky",
    "gone": "gone | missing | lost | nowhere to be seen",
    "dearest": "dearest | greatest | finest | only | favourite",
    "coughed": "coughed | sneezed | hummed | whistled | giggled",
    "cries": "a sob | a sniff | a squeak | a sigh | a small voice",
    "tries": "two | three | four | five | six | seven",
    "mud": "into a puddle | into the mud | into the nettles | into a ditch",
    "tasty": "tasty | lovely | splendid | fine | delicious | fresh | plain",
    "table": "supper | bedtime | the table | the door | the window | the gate",
    "named": "named | called",
    "says": "said | cried | called | whispered",
    "replies": "said | replied | answered | whispered | murmured",
}

# Who says it: always the whole rest of the sentence, up to its full stop.
_TAGS: dict[str, str] = {
    "hero_says": "{says} {hero}. | {says} {hero} {manner}. | {hero.he} {says} {manner}.",
    "hero_replies": "{replies} {hero}. | {replies} {hero} {manner}. | {hero.he} {replies} \
            {manner}.",
    "hero_asks": "{asked} {hero}. | {asked} {hero} {manner}. | {hero.he} {asked} {manner}.",
    "friend_says": """{says} {friend}. | 2: {says} {friend} {manner}.
        {says} the {animal}. | 2: {says} the {animal} {manner}.""",
    "friend_replies": """{replies} {friend}. | 2: {replies} {friend} {manner}.
        {replies} the {animal}. | 2: {replies} the {animal} {manner}.""",
    "friend_asks": """{asked} {friend}. | 2: {asked} {friend} {manner}.
        {asked} the {animal}. | 2: {asked} the {animal} {manner}.""",
    "owner_says": "said the {owner}. | 2: said the {owner} {manner}.",
    "elder_asks": "{asked} {hero.his} {elder}. | 2: {asked} {hero.his} {elder} at {table}.",
}

# Sentences that several plots share.
_BEATS: dict[str, str] = {
    "she": "{hero} | {hero.he}",
    "pal": "{friend} | the {animal}",
    "who": """
        {trait=traits} girl {named} {hero=girls}
        {trait=traits} boy {named} {hero=boys}""",
    "family": "{hero.his} {traits!trait} {elder=elders}",
    "nearby": "near the {air=quaint} {home=places}",
    "opening": """
        Once upon a time a {who} lived with {family} {nearby}. {loves}
        {hero=names} was a {trait=traits} {hero.child} who lived with {family} {nearby}. {loves}
        In a {sizes} house {nearby} lived a {who} and {family}. {loves}
        {^nearby} lived a {who}. {^hero.he} and {family} loved {hobby=hobbies}.""",
    "loves": """
        {^hero.he} loved {hobby=hobbies}.
        {^hero.he} was good at {hobby=hobbies}.
        {^hero.he} liked {hobby=hobbies}.""",
    "object": "{size=sizes} {colour=colours} {thing=things} with a {mark=marks} on it",
    "having": """
        {^hero.he} also had a {object}.
        {^hero.his} {dearest} treasure was a {object}.
        {^hero.he} never went out without {hero.his} {object}.
        {^hero.his} {elder} had given {hero.him} a {object}.""",
    "when": """
        one {weather} {parts},
        one {weather} {weekdays},
        one {weather} {weekdays} {parts},""",
    "outing": """
        3: {^when} {she} {went} {pace} to the {quaint!air} {scene=places!home}.
        The next {weekdays} was {weather}, so {she} {went} {pace} to the {quaint!air} \
            {scene=places!home}.""",
    "sorrow": """
        {^she} felt {very} {sad=sads}.
        {^she} sat down and felt {very} {sad=sads}.
        It made {hero.him} {very} {sad=sads}.
        Oh, how {sad=sads} {she} was!
        {^she} was too {sad=sads} to {sing}.""",
    "newcomer": """
        2: a {traits!trait} {animal=animals} {named} {friend=friends}
        {friend=friends} the {animal=animals}""",
    "meeting": """
        3: {soon} {newcomer} {came} {by}.
        Along came {newcomer}.
        {soon} {she} met {newcomer}.
        Somebody {coughed}. It was {newcomer}.""",
    "joy": """
        {^she} was so {glads} that {hero.he} {dances}.
        How {glads} {she} was!
        {^she} {dance=dances}, and {pal} {dances!dance}.
        {hero} and {pal} {dances}.
        "Thank you, {friend}!" {hero_says}""",
    "feast": """
        {later} they {ate} {tasty} {food=foods} {scene.at}.
        {later} they {ate} {tasty} {food=foods}.
        {^pal} was hungry, so {she} fetched some {tasty} {food=foods}.
        {^she} shared {hero.his} {tasty} {food=foods} with {pal}.""",
    "reward": """
        The {owner} {gave} them some {tasty} {food=foods}.
        The {owner} was so {glads} that everyone got {tasty} {food=foods}.
        They all {ate} {tasty} {food=foods} {scene.at}.""",
    "journey": """
        They {went} past {sight=sights} and {sights!sight} to the {quaint} {scene}.
        They {went} round {sights}, and there was the {scene}.
        Behind {sight=sights} and {sights!sight} lay the {quaint} {scene}.""",
    "ending": """
        "Where were you?" {elder_asks} "{^scene.at}," {hero_replies}
        "Who was with you?" {elder_asks} "{friend} the {animal}," {hero_replies}
        "What did you eat?" {elder_asks} "{^food}," {hero_replies}
        "Who is {friend}?" {elder_asks} "The {animal}," {hero_replies}
        That night {hero} dreamed of a {mark} and a {colour} {thing}.
        From that day on, {hero} and {friend} spent every {weekdays} {hobby}.
        And {hero} and the {animal} stayed friends ever after.
        Ever since, {pal} visits {hero} every {weekdays}, and they eat {food}.
        And whenever it is {weather}, {hero} thinks of {friend} the {animal}.
        Then {hero} {smiled} and went back to {hobby}.""",
}

# Sentences of one plot each.
_SCENES: dict[str, str] = {
    # The hero loses a treasure, and a new friend finds it.
    "loss": """
        Suddenly the {thing} was {gone}.
        But {scene.at} {she} noticed that the {thing} was {gone}.""",
    "search": """
        {^she} {looked} {spot=spots} and {spot2=spots!spot}, but found {nothing}.
        {^she} {looked} {spot=spots} and {spot2=spots!spot}, and saw {nothing}.""",
    "lost_cry": """
        "I have lost my {thing}," {hero_says}
        "My {thing} is {gone}," {hero_says}
        "I cannot find my {thing}," {hero_says}""",
    "describe": """
        "Is it {colours!colour}?" {friend_asks} "No, it is {colour}," {hero_replies}
        "What colour is it?" {friend_asks} "{^colour}," {hero_replies}
        "What is on it?" {friend_asks} "A {mark}," {hero_replies}""",
    "hunt": """
        Together they {found} the {colour} {thing} {spots!spot!spot2}.
        {^pal} {looked} {spots!spot!spot2}, and there lay the {colour} {thing}!
        {^pal} {found} something {colour} {spots!spot!spot2}. It was the {thing}!""",
    # The hero finds a thing and gives it back.
    "discovery": """
        {^spots}, {she} {found} a {object}.
        There, {spots}, lay a {object}.""",
    "whose": """
        "Whose {thing} is this?" {hero_asks}
        {hero} wondered who had lost it.
        "Somebody must be {sads} without it," thought {hero}.""",
    "advice": """
        "Ask the {traits!trait} {owner=owners}," {friend_says}
        "I think it belongs to the {traits!trait} {owner=owners}," {friend_says}
        "The {traits!trait} {owner=owners} has lost a {thing}," {friend_says}""",
    "proof": """
        "What is on your {thing}?" {hero_asks} "A {mark}," {owner_says}
        "Have you lost a {colours!colour} {thing}?" {hero_asks} "No, a {colour} one," {owner_says}
        "Is this yours?" {hero_asks} "My {colour} {thing}," {owner_says}""",
    # The treasure is stuck high up.
    "gust": """
        A {wild} wind {took} the {thing} and left it {high=highs}.
        A {wild} magpie {took} the {thing} and dropped it {high=highs}.""",
    "stuck_cry": """
        "My {thing} is {high}," {hero_says}
        "I cannot reach my {thing}," {hero_says}
        "Look, my {colour} {thing} is {high}," {hero_says}""",
    "offer": """
        "I have {tool=tools}," {friend_says}
        "I will fetch {tool=tools}," {friend_says}
        "All we need is {tool=tools}," {friend_says}""",
    "rescue": """
        With {tool}, {pal} {freed} the {colour} {thing}.
        {^she} held {tool}, and {pal} {freed} the {colour} {thing}.
        It took {tool} and {tries} tries to get the {colour} {thing}.""",
    # An errand in bad weather.
    "errand": """
        "Please take it to the {traits!trait} {owner=owners} near the {scene=places!home}," \
            {elder_says}
        "It is for the {traits!trait} {owner=owners} near the {scene=places!home}," \
            {elder_says}""",
    "elder_says": "said {hero.his} {elder}. | 2: said {hero.his} {elder} {manner}.",
    "storm": """
        Then came {storms}, and {she} lost the path.
        {soon} {storms} came, and {she} hid {shelters}.""",
    "astray": """
        "I cannot find the {scene}," {hero_says}
        "I must go to the {scene}," {hero_says}""",
    "guide": """
        "Follow me," {friend_says}
        "I know the {scene}," {friend_says}""",
    "delivery": """
        "Is that my {thing}?" asked the {owner}. "Yes, the {colour} one," {hero_replies}
        "What have you there?" asked the {owner}. "A {colour} {thing}," {hero_replies}""",
    # A lost animal is brought home.
    "foundling": """
        {^when} {she} heard {cries} {spots}. It was {newcomer}. \
            "I am lost and {sads}," {friend_says}
        {^when} {she} met {newcomer}. \
            "I am {sads} and cannot find my way home," {friend_says}""",
    "address": """
        "Where do you live?" {hero_asks} "Near the {scene=places!home}," {friend_replies}
        "Where is your home?" {hero_asks} "By the {scene=places!home}," {friend_replies}""",
    "comfort": """
        "You may hold my {thing}," {hero_says}
        {hero} let {pal} hold the {colour} {thing}.""",
    # A quarrel, and how it ended.
    "company": """
        {^when} {she} {went} {pace} to the {quaint!air} {scene=places!home} with {newcomer}.
        {^when} {newcomer} took {hero.him} to the {quaint!air} {scene=places!home}.""",
    "both": """
        There, {spots}, they {found} a {object}.
        {^spots}, they {found} a {object}.""",
    "quarrel": """
        "I saw it first," {hero_says} "No, it is mine," {friend_replies}
        "It is mine," {hero_says} "No, I want the {thing}," {friend_replies}""",
    "tug": """
        The {thing} fell {mud}, and both were {sad=sads}.
        Then the {thing} fell {mud}, and both were {sad=sads}.""",
    "turns": """
        "Why so {sad}?" asked the {traits!trait} {owner=owners}. \
            "We both want the {thing}," {hero_replies}
        "What is it?" asked the {traits!trait} {owner=owners}. \
            "We both want the {colour} {thing}," {hero_replies}""",
    "peace": """
        "Take turns," {owner_says} So {hero} had it every {day=weekdays}, and {friend} every \
            {weekdays!day}.
        "Share it," {owner_says} So {friend} had it every {day=weekdays}, and {hero} every \
            {weekdays!day}.""",
}

_PLOTS = """
    {opening} {having} / {outing} {loss} {search} / {meeting} {lost_cry} {describe} / {hunt} \
        {joy} {feast} / {ending}
    {opening} / {outing} {discovery} {whose} / {meeting} {advice} / {proof} {reward} / {ending}
    {opening} {having} / {outing} {gust} {sorrow} / {meeting} {stuck_cry} {offer} / {rescue} \
        {joy} {feast} / {ending}
    {opening} / {^when} {hero.his} {elder} {gave} {hero.him} a {object}. {errand} / {storm} \
        {meeting} {astray} {guide} / {journey} {delivery} {reward} / {ending}
    {opening} {having} / {foundling} {address} {comfort} / {journey} {joy} {feast} / {ending}
    {opening} / {company} {both} {quarrel} / {tug} {turns} {peace} {feast} / {ending}"""

RULES: dict[str, str] = _WORDS | _TAGS | _BEATS | _SCENES | {"story": _PLOTS}
