# Of entries, receipts and their counts. Nothing here needs a change; what a store of yours must do stands in office.jq.

def rights: ["access", "erasure", "objection"];

# The entries of an order that are ours; of one task and ask the latest attempt counts. To others, and to what has no
# such head, not even a refusal can be told.
def ours($code):
  [.entries[] | select(type == "object" and (.task | type) == "string" and (.task | test("^[A-Za-z0-9-]{1,64}/[a-z]{2,16}$"))
    and (.task | endswith("/" + $code)) and (.attempt | type) == "number" and .attempt >= 1
    and ([.ask] | inside(["serve", "look", "dispose", "plant"])))]
  | group_by([.task, .ask]) | map(max_by(.attempt));

def understood:
  ([.right] | inside(rights)) and (.person.emails | type) == "array";

# Whom to look for, as office.jq wants it.
def person: {emails: [.person.emails[] | ascii_downcase], received_at};

# What an attempt did that was begun and never counted: what stood when it began, less what stands now.
def lost($standing):
  map(. as $before
    | ([0, ($before.erased // 0) - ([$standing[] | select(.name == $before.name) | .erased // 0] | add // 0)] | max) as $erased
    | ($before | del(.restricted)) + {erased: $erased, matched: ($erased + ($before.retained // 0))});

def only_matched: .matched - (.erased // 0) - (.retained // 0);

# One account of several attempts at one task; what was kept stands once, whoever counted it.
def together($earlier):
  map(. as $now
    | ([$earlier[] | select(.name == $now.name)] | first // {matched: 0}) as $before
    | (if ($now.retained // 0) >= ($before.retained // 0) then $now else $before end) as $kept
    | (($now.erased // 0) + ($before.erased // 0)) as $erased
    | ([$now.restricted // 0, $before.restricted // 0] | max) as $restricted
    | {name, matched: ($erased + ($kept.retained // 0) + ([$now, $before | only_matched] | max))}
    + (if $erased > 0 then {erased: $erased} else {} end)
    + (if $restricted > 0 then {restricted: $restricted} else {} end)
    + (if ($kept.retained // 0) > 0 then $kept | {retained, ground, until} else {} end));

# A receipt's entry. Input: the order's entry.
def answered($collections; $at):
  {task, attempt, ask, at: $at, collections: $collections, outcome:
    (if all($collections[]; .matched == 0) then "nothing-held"
     elif any($collections[]; .retained != null) then "partly-retained" else "done" end)};

def refused($reason; $at): {task, attempt, ask, at: $at, outcome: "refused", collections: [], reason: $reason};

# A stored value as every reader of JSON writes it alike (RFC 8785, together with jq's own -cS).
def plain:
  if type == "number" then (if . == floor and fabs < 1e15 then floor else tostring end)
  elif type == "string" then gsub("\u007f"; "\ufffd")
  elif type == "array" then map(plain) elif type == "object" then map_values(plain) else . end;
