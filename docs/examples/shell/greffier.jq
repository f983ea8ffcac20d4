# Of entries, receipts and their counts. Nothing here needs a change; what a store of yours must do stands in office.jq.

def known: ["access", "portability", "erasure", "objection", "withdrawal", "rectification", "restriction"];

def trimmed: sub("\\A\\s+"; "") | sub("\\s+\\z"; "");
def is_ascii: all(explode[]; . < 128);

# A day that there is, of this age or the last.
def is_day:
  if type == "string" and test("\\A(19|[2-9][0-9])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])\\z") then
    (.[0:4] | tonumber | . % 4 == 0 and (. % 100 != 0 or . % 400 == 0)) as $leap
    | (.[8:10] | tonumber) <= [31, (if $leap then 29 else 28 end), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][(.[5:7] | tonumber) - 1]
  else false end;

# Seconds since 1970 of a moment in ISO 8601, in UTC where it names no zone; null for what nobody can read.
def moment:
  def zone: if . == null or . == "Z" then 0
    else (.[1:3] | tonumber * 3600) + (.[4:6] | tonumber * 60) end;
  [strings
    | capture("\\A(?<day>[0-9-]{10})([T ](?<minute>[0-9]{2}:[0-9]{2})(:(?<second>[0-9]{2}([.][0-9]+)?))?(?<zone>Z|[+-][0-9]{2}:[0-9]{2})?)?\\z")
    | select(.day | is_day)
    | (try ("\(.day)T\(.minute // "00:00"):00Z" | fromdateiso8601) catch empty) + (.second // "0" | tonumber)
      + (.zone | if . != null and .[0:1] == "-" then zone else -zone end)]
  | first // null;

# Whole words: "eras" is no right, though `inside` finds it in one.
def is_one_of($words): . as $word | any($words[]; . == $word);

# The entries of an order that are ours; of one task and ask the latest attempt counts. To others, and to what has no
# such head, not even a refusal can be told.
def ours($code):
  [.entries[] | select(type == "object" and (.task | type) == "string" and (.task | test("\\A[A-Za-z0-9-]{1,64}/[a-z]{2,16}\\z"))
    and (.task | endswith("/" + $code)) and (.attempt | type) == "number" and .attempt >= 1 and .attempt == (.attempt | floor)
    and (.ask | is_one_of(["serve", "look", "lift", "dispose", "plant"])))]
  | reduce .[] as $one ([]; (map([.task, .ask] == [$one.task, $one.ask]) | index(true)) as $place
    | if $place == null then . + [$one] elif .[$place].attempt < $one.attempt then .[$place] = $one else . end);

def correctable: ["last_name", "first_name", "phone", "position", "country", "language"]
  + (["street", "postal_code", "city", "country"] | map("postal_address." + .));

def has_only($names): type == "object" and (keys - $names) == [];

def is_patch:
  has_only(["field", "was", "to"]) and (.field | is_one_of(correctable)) and (.to | type) == "string" and (.was == null or (.was | type) == "string");

def is_person: has_only(["emails"]) and (.emails | type) == "array" and .emails != [] and all(.emails[]; type == "string");

def is_wish:  # its moments are compared as text
  has_only(["task", "attempt", "ask", "right", "person", "received_at", "accepts", "refused_at", "version"])
    and .ask == "serve" and (.person | is_person) and (.person.emails | length) == 1 and (.accepts | is_one_of(["yes", "no"]))
    and (.version | type) == "number" and .version < 9007199254740992 and all(.received_at, .refused_at;
      moment != null and test("\\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z\\z"));

# What says more than this version knows is not understood: it may be meant to be served otherwise.
def understood:
  ["task", "attempt", "ask"] as $head
  | if .ask == "plant"
    then has_only($head + ["address"]) and (.address | type) == "string" and (.address | test("\\Acanary\\.[0-9a-z]{8,32}@example\\.org\\z"))
    elif .ask == "dispose" then has_only($head + ["on", "periods"])
    elif .right == "wish" then is_wish
    else (.right | is_one_of(known)) and (.person | is_person) and (.received_at | moment) != null
      and (.ask != "lift" or .right == "restriction")
      and (if .right == "rectification"
        then has_only($head + ["right", "person", "received_at", "patches"]) and (.patches | type) == "array" and all(.patches[]; is_patch)
        else has_only($head + ["right", "person", "received_at"]) end) end;

# Whom to look for, as office.jq wants it.
def person: {emails: [.person.emails[] | ascii_downcase], received_at, patches};

# What a correction means for what stands: right already, to be set, nothing wrong here, or in conflict. Letter case is
# folded in ASCII alone, which is all that jq 1.6 can: something more is in conflict here than elsewhere, never less.
def text: (. // "") | tostring | trimmed;
def loosely: text | ascii_downcase | [splits("\\s+")] | join(" ");
def verdict($stored):
  if ($stored | text) == (.to | text) then "holds"
  elif ($stored | text) == "" then (if .was == null then "applies" else "absent" end)
  elif .was != null and ($stored | loosely) == (.was | loosely) then "applies"
  else "conflicts" end;

# Input: a record. `$columns`: the group's field to the one here. A record in conflict is left whole.
def judged($patches; $columns):
  . as $record
  | [$patches[] | select($columns[.field]) | {key: $columns[.field], value: .to, is: verdict($record[$columns[.field]])}]
  | {concerned: any(.[]; .is != "absent"), conflicts: any(.[]; .is == "conflicts"), sets: map(select(.is == "applies"))}
  | if .conflicts then .sets = {} else .sets |= from_entries end;

# Input of these: the journal's lines. The marks of whom a restriction names that another task asked for and nobody lifted.
def lifted: [.[] | select(.line == "done") | {(.task): (.entry.ask == "lift")}] | add // {};
def restricted_by_others($task):
  lifted as $lifted
  | [.[] | select(.line == "begun" and .right == "restriction" and .task != $task and ($lifted[.task] | not)) | .marks[]];

# What was begun about an address, to be done again after a restore; what they refused and accepted is done once.
def of_address($mark):
  lifted as $lifted
  | .[] | select(.line == "begun" and any((.marks // [])[]; . == $mark) and ($lifted[.task] | not)
    and (.right | is_one_of(["rectification", "objection", "wish"]) | not));

# A person without the addresses whose marks are among these (the input).
def free($person; $marks):
  . as $taken
  | $person | .emails |= [to_entries[] | select($marks[.key] as $mark | any($taken[]; . == $mark) | not) | .value];

# What was heard of one address, in whatever order: the latest "no" by itself, and the wish that knows most. At a tie "no"
# wins.
def heard($mark):
  [.[] | select(.line == "begun" and any((.marks // [])[]; . == $mark))]
  | {refused: ([.[] | select(.right == "objection") | .received_at] | max),
     wish: ([.[] | select(.right == "wish")] | max_by([.received_at, .version, (.accepts | not)]))};
def accepted: .wish != null and .wish.accepts and (.refused == null or .refused <= .wish.refused_at);
def last_said: [.refused, .wish.received_at] | max;

# What all that was heard comes to, for a "no" or for a wish: whom it is about, and what is done. `$marks`: of the person's
# addresses, in their order.
def abiding($right; $person; $marks):
  . as $lines
  | [$person.emails | to_entries[] | {email: .value, heard: ($marks[.key] as $mark | $lines | heard($mark))}] as $told
  | [$told[] | select(.heard | accepted | not) | .email] as $refusing
  | if $right == "objection"
    then (if $refusing == [] then {deed: "nothing", person: $person} else {deed: "object", person: ($person + {emails: $refusing})} end)
    else ($told[0].heard | last_said) as $at | {person: ($person + {received_at: $at}),
      deed: (if $at == null then "nothing" elif $refusing == [] then "accept" else "object" end)} end;

# What an attempt did that was begun and never counted: what stood when it began, less what stands now. What is marked or
# corrected is counted by what stands, at every attempt.
def lost($standing):
  map(. as $before
    | ([0, ($before.erased // 0) - ([$standing[] | select(.name == $before.name) | .erased // 0] | add // 0)] | max) as $erased
    | ($before | del(.restricted, .corrected, .conflicting)) + {erased: $erased, matched: ($erased + ($before.retained // 0))});

def only_matched: .matched - (.erased // 0) - (.retained // 0);

# One account of several attempts at one task; what was kept stands once, whoever counted it.
def together($earlier):
  map(. as $now
    | ([$earlier[] | select(.name == $now.name)] | first // {matched: 0}) as $before
    | (if ($now.retained // 0) >= ($before.retained // 0) then $now else $before end) as $kept
    | (($now.erased // 0) + ($before.erased // 0)) as $erased
    | ([$now.restricted // 0, $before.restricted // 0] | max) as $restricted
    | (if $now.matched > 0 then $now else $before end | with_entries(select(.key == "corrected" or .key == "conflicting"))) as $correct
    | {name, matched: ($erased + ($kept.retained // 0) + ([$now, $before | only_matched] | max))} + $correct
    + (if $erased > 0 then {erased: $erased} else {} end)
    + (if $restricted > 0 then {restricted: $restricted} else {} end)
    + (if ($kept.retained // 0) > 0 then $kept | {retained, ground, until} else {} end));

# A receipt's entry. Input: the order's entry.
def answered($collections; $at):
  {task, attempt, ask, at: $at, collections: $collections, outcome:
    (if all($collections[]; .matched == 0) then "nothing-held"
     elif any($collections[]; (.conflicting // 0) > 0) then "conflict"
     elif any($collections[]; .retained != null) then "partly-retained" else "done" end)};

def refused($reason; $at): {task, attempt, ask, at: $at, outcome: "refused", collections: [], reason: $reason};

# A stored value as every reader of JSON writes it alike (RFC 8785, together with jq's own -cS).
def plain:
  if type == "number" then (if . == floor and fabs < 1e15 then floor else tostring end)
  elif type == "string" then gsub("\u007f"; "\ufffd")
  elif type == "array" then map(plain) elif type == "object" then map_values(plain) else . end;
