# An office whose people stand in one JSON file: the part to be written anew for a store of another kind.
#
# {"contacts": [{"id", "email", "name", "town"?, "newsletter", "objected"?, "restricted"?, "asked_at"?}],
#  "invoices": [{"id", "contact", "number", "issued_on"}]}
#
# | right         | what it means here |
# | ------------- | ------------------ |
# | erasure       | contacts and invoices go; an invoice stays ten years, and with it whom it was issued to |
# | objection     | `objected`: written to no more, until they accept again; whether they get the newsletter stays as it is |
# | withdrawal    | ends the newsletter: it is all that rests on consent |
# | rectification | of `name` and `town`, where what the person saw still stands |
# | restriction   | `restricted`: stored, shown to the person, and used by nobody until it is lifted |
# | portability   | what the person gave for the contract; not the invoices, which the law asks for |
#
# What is over by the group's periods it does not dispose of: jq counts no months. What the person asked for after the
# request (`asked_at`) is a fresh act, and stays. Input of every filter: the whole store. `$person`:
# {emails (letters folded), received_at, patches}.

include "greffier";

def rights: ["access", "portability", "erasure", "objection", "withdrawal", "rectification", "restriction", "wish"];
def marks: {objection: {objected: true}, withdrawal: {newsletter: false}, restriction: {restricted: true}};
def columns: {last_name: "name", "postal_address.city": "town"};

def ground: "accounting, ten years";

def last_day:
  if is_day then ((.[0:4] | tonumber + 10 | tostring) + .[4:]) | sub("-02-29\\z"; "-02-28")
  else "9999-12-31" end;  # no readable date: kept, for somebody to look at

# Whether each record can be told from every other: whoever is served where two have one id takes others along.
def sound: all(.contacts, .invoices; map(.id) | all(.[]; . != null) and length == (unique | length));

def address: .email | tostring | trimmed | ascii_downcase;

# Whether something stands here that may be theirs, written otherwise: beyond ASCII there are several ways to write one
# address, which jq does not know.
def unclear($person):
  [$person.emails[] | select((is_ascii | not) or contains("xn--"))] as $theirs
  | $theirs != [] and any(.contacts[] | address; (is_ascii | not) and (. as $one | any($theirs[]; . == $one) | not));

# Everything of the person; `until`: the last day of a record that must be kept.
def find($person; $today):
  . as $all
  | [$all.contacts[] | select(address as $email | any($person.emails[]; . == $email)
      and ((.asked_at | moment // 0) > ($person.received_at | moment) | not))] as $contacts
  | [$all.invoices[] | select(.contact as $id | any($contacts[]; .id == $id))
      | . + (if (.issued_on | last_day) >= $today then {until: (.issued_on | last_day)} else {} end)] as $invoices
  | {contacts: [$contacts[] | . as $one
       | [$invoices[] | select(.contact == $one.id) | .until | values] as $days
       | . + (if $days | length > 0 then {until: ($days | max)} else {} end)],
     invoices: $invoices};

def kept: [.[] | .until | values] | if length > 0 then {retained: length, ground: ground, until: max} else {} end;

# Counted by what each contact holds, so that a repeat counts the same; `$looks`: what is yet to be set is not corrected.
def corrections($person; $looks):
  [.contacts[] | judged($person.patches; columns)]
  | {name: "contacts", matched: map(select(.concerned)) | length,
     corrected: map(select(.concerned and (.conflicts | not) and (($looks | not) or .sets == {}))) | length,
     conflicting: map(select(.conflicts)) | length};

# What acting would do, in counts; it changes nothing.
def plan($right; $person; $today):
  find($person; $today)
  | if marks[$right] then [.contacts | {name: "contacts", matched: length, restricted: length}]
    elif $right == "rectification" then [corrections($person; false)]
    else to_entries | map({name: .key, matched: (.value | length),
      erased: ([.value[] | select(.until == null)] | length)} + (.value | kept)) end;

# The contacts of the person, each changed by a filter.
def change($person; $today; filter):
  [find($person; $today).contacts[].id] as $ids
  | .contacts |= map(if .id as $id | any($ids[]; . == $id) then filter else . end);

# The store as it is afterwards.
def act($right; $person; $today):
  if marks[$right] then change($person; $today; . + marks[$right])
  elif $right == "rectification" then change($person; $today; . + judged($person.patches; columns).sets)
  else find($person; $today) as $found
    | reduce ("contacts", "invoices") as $name (.;
      [$found[$name][] | select(.until == null) | .id] as $gone
      | .[$name] |= map(select(.id as $id | any($gone[]; . == $id) | not))) end;

def lift($person; $today): change($person; $today; .restricted = false);

# They accepted again what they had refused: the mark goes, and nothing else is set.
def accept($person; $today): change($person; $today; .objected = false);

# A fictional person, unless it stands already.
def plant($person; $today):
  if find($person; $today).contacts == []
  then .contacts += [{id: $person.emails[0], email: $person.emails[0], name: "Canary", newsletter: false}] else . end;

# What stands now.
def look($right; $person; $today):
  find($person; $today)
  | if $right == "rectification" then [corrections($person; true)]
    elif $right == "portability" then [{name: "contacts", matched: (.contacts | length)}]
    elif marks[$right]
    then [{name: "contacts", matched: (.contacts | length),
      restricted: ([.contacts[] | select(. + marks[$right] == .)] | length)}]
    else to_entries | map({name: .key, matched: (.value | length)} + (.value | kept)) end;

# Everything for whoever asks what is held; what they gave, for whoever takes it elsewhere.
def copy($right; $person; $today):
  {email: "e-mail address", name: "name", town: "town"} as $given
  | find($person; $today)
  | if $right == "portability"
    then [{name: "contacts", fields: $given, records: [.contacts[] | {email, name, town}]}]
    else [{name: "contacts", fields: ($given + {newsletter: "whether the newsletter is sent"}),
       records: [.contacts[] | {email, name, town, newsletter}]},
      {name: "invoices", fields: {number: "number of the invoice", issued_on: "day of issue"},
       records: [.invoices[] | {number, issued_on}]}] end
  | map(select(.records | length > 0));

def identifiers: .contacts[] | address;

# To whom the newsletter goes: whatever reads for the office's own use leaves out who is restricted, and what writes to
# them also who objected.
def recipients: .contacts[] | select(.newsletter and (.restricted or .objected | not)) | .email;
