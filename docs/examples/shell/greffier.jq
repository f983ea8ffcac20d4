# Of entries, receipts and their counts. Nothing here needs a change; what a store of yours must do stands in office.jq.

def known: ["access", "portability", "erasure", "objection", "withdrawal", "rectification", "restriction"];

# The entries of an order that are ours; of one task and ask the latest attempt counts. To others, and to what has no
# such head, not even a refusal can be told.
def ours($code):
  [.entries[] | select(type == "object" and (.task | type) == "string" and (.task | test("^[A-Za-z0-9-]{1,64}/[a-z]{2,16}$"))
    and (.task | endswith("/" + $code)) and (.attempt | type) == "number" and .attempt >= 1
    and ([.ask] | inside(["serve", "look", "lift", "dispose", "plant"])))]
  | group_by([.task, .ask]) | map(max_by(.attempt));

def correctable: ["last_name", "first_name", "phone", "position", "country", "language"]
  + (["street", "postal_code", "city", "country"] | map("postal_address." + .));

def is_patch:
  type == "object" and ([.field] | inside(correctable)) and (.to | type) == "string" and (.was == null or (.was | type) == "string");

def understood:
  if .ask == "plant" then (.address | type) == "string" and (.address | test("^canary\\.[0-9a-z]{8,32}@example\\.org$"))
  elif .ask == "dispose" then true
  else ([.right] | inside(known)) and (.person.emails | type) == "array" and (.ask != "lift" or .right == "restriction")
    and (if .right == "rectification" then (.patches | type) == "array" and all(.patches[]; is_patch) else .patches == null end) end;

# Whom to look for, as office.jq wants it.
def person: {emails: [.person.emails[] | ascii_downcase], received_at, patches};

# What a correction means for what stands: right already, to be set, nothing wrong here, or in conflict. Letter case is
# folded in ASCII alone, which is all that jq 1.6 can: something more is in conflict here than elsewhere, never less.
def text: (. // "") | tostring | sub("^\\s+"; "") | sub("\\s+$"; "");
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
